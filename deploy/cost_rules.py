"""What the running service costs an hour, as recording rules: its own counters times the prices of `deploy.prices`.

What AWS bills and nobody counts (storage, delivery, logs, NAT, the database) is not in it.
"""

from collections.abc import Iterator
from pathlib import Path

from deploy.prices import HOUR, Costs
from handlers.transcode.planning.plan import SEGMENT_SECONDS

FILE = Path(__file__).parent / "prometheus" / "costs.yaml"
WRITES = "Put.*|Copy.*|Create.*|Complete.*|Upload.*|List.*"
"""S3's operations at the price of a PUT. Deletions and aborted uploads cost nothing, all others are reads."""
FREE = "Delete.*|Abort.*"
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
    """The whole file."""
    parts = {"compute": _compute(costs), "SQS": _sqs(costs), "S3": _s3(costs), "MediaConvert": _mediaconvert(costs)}
    return _HEAD + "".join(
        _RULE.format(part=part, expression="\n          + ".join(terms)) for part, terms in parts.items()
    )


def _compute(costs: Costs) -> Iterator[str]:
    """Tasks that answer; the load balancer is there whether one does or not."""
    yield _number(costs.of("balancer_hour"))
    yield f'{_number(costs.consumer_hour)} * (count(up{{job="media-consumer"}} == 1) or vector(0))'
    yield f'{_number(costs.api_hour)} * (count(up{{job="media-api"}} == 1) or vector(0))'


def _sqs(costs: Costs) -> Iterator[str]:
    price = costs.of("sqs_request") + costs.of("sqs_fair")
    yield _hourly(price, "media_sqs_requests_total")


def _s3(costs: Costs) -> Iterator[str]:
    """What we ask for, the clients' uploads (one PUT each; one in parts is more), and the segments of MediaConvert."""
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
    """Dollars an hour for what a counter counts; nothing where there is no such counter yet."""
    return f"{_number(price * HOUR)} * (sum(rate({counter}[1h])) or vector(0))"


def _number(value: float) -> str:
    return f"{value:.10f}".rstrip("0").rstrip(".") or "0"
