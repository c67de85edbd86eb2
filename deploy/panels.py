"""What stands on the dashboard: three questions, each answered in a row, and a closer look below.

A panel is one line here; `deploy.dashboard` makes Grafana's JSON of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: a `stat`, a `timeseries`, or a `bargauge`. `queries` are pairs of expression and legend.

    `limit` turns a stat red from there on; a negative one, below its absolute value.
    """

    title: str
    queries: Sequence[tuple[str, str]]
    unit: str = "none"
    kind: str = "timeseries"
    help: str = ""
    limit: float = 0.0
    stacked: bool = False
    highest: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """Lines of panels, each with its height in Grafana's units; a line's panels share its 24 columns."""

    title: str
    lines: Sequence[tuple[int, Sequence[Panel]]]
    folded: bool = False


def _in_time(slo: str, title: str) -> Panel:
    expression = f'1 - slo:media_bad:ratio1h{{slo="{slo}"}}'
    return Panel(
        title, [(expression, "")], "percentunit", "stat", "Share within an hour; 99 % is promised.", -0.99, highest=1
    )


def _quantiles(metric: str, label: str, window: str = "15m") -> list[tuple[str, str]]:
    by, legend = (f"{label}, ", f"{{{{{label}}}}} ") if label else ("", "")
    return [
        (f"histogram_quantile({share}, sum by ({by}le) (rate({metric}_bucket[{window}])))", f"{legend}{name}")
        for share, name in ((0.5, "p50"), (0.99, "p99"))
    ]


def _p99(metric: str, label: str) -> list[tuple[str, str]]:
    return [(f"histogram_quantile(0.99, sum by ({label}, le) (rate({metric}_bucket[5m])))", f"{{{{{label}}}}}")]


_FIRING = 'count(ALERTS{alertstate="firing",alertname=~"Media.*"}) or vector(0)'
_BY_CODE = 'sum by (status, code) (increase(media_assets_ended_total{status=~"rejected|failed"}[$__range])) > 0'
_READY_HOURLY = 'sum(rate(media_assets_ended_total{status="ready"}[1h])) * 3600'

KEEPING_UP = Row(
    "Is it keeping up?",
    [
        (
            3,
            [
                _in_time("image_ready", "Images ready in 30 s"),
                _in_time("scan_done", "Scans done in 10 s"),
                _in_time("video_ready", "Videos ready in their length"),
                Panel("Time to drain", [("max(queue:media_drain_seconds)", "")], "s", "stat", "The worst queue.", 600),
                Panel(
                    "Dead letters",
                    [("sum(max by (queue) (media_dlq_messages))", "")],
                    kind="stat",
                    help="python -m consumer.cli dlq list QUEUE",
                    limit=1,
                ),
                Panel("Alerts firing", [(_FIRING, "")], kind="stat", limit=1),
            ],
        ),
        (
            6,
            [
                Panel("Backlog", [("max by (queue) (media_backlog_messages)", "{{queue}}")], help="Messages waiting."),
                Panel("Upload to ready", _quantiles("media_asset_ready_seconds", "asset_type"), "s"),
                Panel("Upload to verdict", _quantiles("media_scan_done_seconds", ""), "s"),
                Panel(
                    "Videos: upload to ready, in lengths of the video",
                    _quantiles("media_video_ready_ratio", ""),
                    help="1 is promised; a minute where a video is shorter than that.",
                ),
            ],
        ),
    ],
)

FAILING = Row(
    "What fails, and why?",
    [
        (
            7,
            [
                Panel(
                    "Assets that were rejected or failed, by code",
                    [(f"topk(12, {_BY_CODE})", "{{status}}: {{code}}")],
                    kind="bargauge",
                    help="Within the time chosen above. docs/codes.md says what each code means.",
                ),
                Panel(
                    "Tries that failed, by cause",
                    [("sum by (stage, code) (rate(media_stage_failures_total[5m]))", "{{stage}}: {{code}}")],
                    "ops",
                    help="Ours, and tried again: what will be `failed` unless it is mended.",
                ),
                Panel(
                    "Dependencies away",
                    [("max by (dependency) (media_circuit_open)", "{{dependency}}")],
                    help="1 while the queues that need it are paused.",
                    highest=1,
                ),
                Panel(
                    "API: answers that are no success",
                    [('sum by (status) (rate(media_http_requests_total{status=~"[45].."}[5m]))', "{{status}}")],
                    "reqps",
                ),
            ],
        )
    ],
)

COSTING = Row(
    "What does it cost?",
    [
        (
            6,
            [
                Panel(
                    "A month at this rate",
                    [("sum(part:media_cost_dollars:hourly) * 730", "")],
                    "currencyUSD",
                    "stat",
                    "What is counted × list prices, see deploy/prometheus/costs.yaml. No storage, delivery, Postgres.",
                ),
                Panel(
                    "1,000 assets ready",
                    [(f"sum(part:media_cost_dollars:hourly) / ({_READY_HOURLY} > 0) * 1000", "")],
                    "currencyUSD",
                    "stat",
                    "All costs of the last hour ÷ what became ready in it.",
                ),
                Panel(
                    "Dollars an hour",
                    [("sum by (part) (part:media_cost_dollars:hourly)", "{{part}}")],
                    "currencyUSD",
                    stacked=True,
                ),
                Panel(
                    "Requests to S3 and SQS",
                    [
                        ("sum by (operation) (rate(media_aws_requests_total[5m]))", "{{operation}}"),
                        ("sum by (operation) (rate(media_sqs_requests_total[5m]))", "SQS {{operation}}"),
                    ],
                    "reqps",
                ),
                Panel(
                    "Transcoded, seconds of output a second",
                    [("sum by (engine, kind) (rate(media_transcoded_seconds_total[15m]))", "{{engine}} {{kind}}")],
                ),
            ],
        )
    ],
)

CLOSER = Row(
    "A closer look",
    [
        (
            7,
            [
                Panel("Time to drain", [("queue:media_drain_seconds", "{{queue}}")], "s"),
                Panel("Sent to settled, p99", _p99("media_message_dwell_seconds", "queue"), "s"),
                Panel("Time in the handler, p99", _p99("media_handler_duration_seconds", "handler"), "s"),
                Panel(
                    "Held: running and waiting",
                    [("sum by (queue, state) (media_messages_in_flight)", "{{queue}} {{state}}")],
                ),
            ],
        ),
        (
            7,
            [
                Panel(
                    "Outcomes",
                    [("sum by (outcome) (queue_outcome:media_messages_processed:rate5m)", "{{outcome}}")],
                    "ops",
                ),
                Panel("Share of tries that fail", [("queue:media_failures:ratio15m", "{{queue}}")], "percentunit"),
                Panel("Verdicts", [("sum by (verdict) (rate(media_scans_total[5m]))", "{{verdict}}")], "ops"),
                Panel("Outside the objective, 6 h", [("slo:media_bad:ratio6h", "{{slo}}")], "percentunit"),
            ],
        ),
        (
            7,
            [
                Panel("Dead letters", [("max by (queue) (media_dlq_messages)", "{{queue}}")]),
                Panel(
                    "Messages lost while at work",
                    [("sum by (queue) (increase(media_visibility_lost_total[5m]))", "{{queue}}")],
                ),
                Panel("Outbox due", [("max(media_outbox_pending)", "rows")]),
                Panel("Oldest unfinished asset", [("max(media_oldest_unfinished_asset_seconds)", "age")], "s"),
            ],
        ),
        (
            7,
            [
                Panel("API latency, p99", _p99("media_http_request_duration_seconds", "route"), "s"),
                Panel(
                    "API answers", [("sum by (status) (rate(media_http_requests_total[5m]))", "{{status}}")], "reqps"
                ),
                Panel(
                    "API: refused by a rate limit, and event streams open",
                    [
                        ("sum by (class) (rate(media_http_rate_limited_total[5m]))", "{{class}} refused/s"),
                        ("sum(media_event_streams)", "streams"),
                    ],
                ),
                Panel("Event loop lateness, p99", _p99("media_event_loop_lag_seconds", "job"), "s"),
            ],
        ),
        (
            7,
            [
                Panel(
                    "Consumers and APIs that answer, and restarts",
                    [
                        ('sum by (job) (up{job=~"media-.*"})', "{{job}}"),
                        (
                            'sum by (job) (changes(process_start_time_seconds{job=~"media-.*"}[30m]))',
                            "{{job}} restarts in 30 min",
                        ),
                    ],
                ),
                Panel(
                    "SQS requests that fail",
                    [
                        (
                            'sum by (queue, operation) (rate(media_sqs_requests_total{result="error"}[5m]))',
                            "{{queue}} {{operation}}",
                        )
                    ],
                    "ops",
                ),
                Panel("Scanned", [("sum(rate(media_scanned_bytes_total[5m]))", "bytes")], "Bps"),
                Panel("Signatures' age", [("max(media_scanner_database_age_seconds)", "age")], "s"),
            ],
        ),
    ],
    folded=True,
)

ROWS = (KEEPING_UP, FAILING, COSTING, CLOSER)
