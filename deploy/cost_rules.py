"""Recording rules for the hourly cost of the running service: its own counters times the prices of `deploy.prices`.

Costs that the service does not count (storage, delivery, logs, NAT, the database) are not included.
"""

from collections.abc import Iterator
from pathlib import Path

from deploy.prices import HOUR, Costs
from handlers.transcode.planning.plan import SEGMENT_SECONDS

FILE = Path(__file__).parent / "prometheus" / "costs.yaml"
WRITES = "Put.*|Copy.*|Create.*|Complete.*|Upload.*|List.*"
"""S3 operations at the price of a PUT. All others but those of `FREE` are reads."""
FREE = "Delete.*|Abort.*"
"""S3 operations that cost nothing."""
_HEAD = """\
# Dollars an hour, made by `python -m deploy.costs --write` from deploy/prices.py. With prices of your own:
#   python -m deploy.costs hd_minute=0.0135 --rules > deploy/prometheus/costs.yaml
groups:
  - name: media-costs
    rules:
"""
_RULE = """\
      - record: part:media_cost_dollars:hourly
        labels: {{ part: {part} }}
        expr: >-
          {expression}
"""


def rules(costs: Costs) -> str:
    """Return the whole rule file."""
    sqs = _hourly(costs.of("sqs_request") + costs.of("sqs_fair"), "media_sqs_requests_total")
    parts = {"compute": _compute(costs), "SQS": [sqs], "S3": _s3(costs), "MediaConvert": _mediaconvert(costs)}
    return _HEAD + "".join(
        _RULE.format(part=part, expression="\n          + ".join(terms)) for part, terms in parts.items()
    )


def _compute(costs: Costs) -> Iterator[str]:
    """Count the tasks that answer; the load balancer costs the same without any."""
    yield decimal(costs.of("balancer_hour"))
    yield f'{decimal(costs.consumer_hour)} * (count(up{{job="media-consumer"}} == 1) or vector(0))'
    yield f'{decimal(costs.api_hour)} * (count(up{{job="media-api"}} == 1) or vector(0))'


def _s3(costs: Costs) -> Iterator[str]:
    """Count our requests, one PUT for each upload of a client, and one for each segment that MediaConvert writes.

    An upload in parts needs more than one PUT; the difference is not counted.
    """
    write, read = costs.of("s3_write"), costs.of("s3_read")
    yield _hourly(write, f'media_aws_requests_total{{service="s3",operation=~"{WRITES}"}}')
    yield _hourly(read, f'media_aws_requests_total{{service="s3",operation!~"{WRITES}|{FREE}"}}')
    yield _hourly(write, "media_assets_ended_total")
    yield _hourly(write / SEGMENT_SECONDS, 'media_transcoded_seconds_total{engine="mediaconvert"}')


def _mediaconvert(costs: Costs) -> Iterator[str]:
    fast = costs.of("fast_factor")
    prices = {
        "sd": costs.of("sd_minute"),
        "hd": costs.of("hd_minute"),
        "sd_fast": costs.of("sd_minute") * fast,
        "hd_fast": costs.of("hd_minute") * fast,
        "audio": costs.of("audio_minute"),
    }
    for kind, price in prices.items():
        yield _hourly(price / 60, f'media_transcoded_seconds_total{{engine="mediaconvert",kind="{kind}"}}')


def _hourly(price: float, counter: str) -> str:
    """Return the dollars an hour for a counter; 0 while the counter does not exist."""
    return f"{decimal(price * HOUR)} * (sum(rate({counter}[1h])) or vector(0))"


def decimal(value: float) -> str:
    """Return the number without an exponent and without trailing zeros."""
    return f"{value:.10f}".rstrip("0").rstrip(".") or "0"
