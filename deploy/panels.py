"""The panels of the dashboard: three rows that answer one question each, and a folded row with details.

`deploy.dashboard` turns them into Grafana's JSON.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: a `stat`, a `timeseries`, or a `bargauge`. `queries` are pairs of expression and legend.

    A stat is red from `limit` upwards, or, with a negative limit, below its absolute value.
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
    """Lines of panels, each with its height in Grafana's units. The panels of a line share its 24 columns."""

    title: str
    lines: Sequence[tuple[int, Sequence[Panel]]]
    folded: bool = False


def _objective(slo: str, title: str) -> Panel:
    expression = f'1 - slo:media_bad:ratio1h{{slo="{slo}"}}'
    return Panel(
        title, [(expression, "")], "percentunit", "stat", "Share of the last hour; objective: 99 %.", -0.99, highest=1
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
                _objective("image_ready", "Images ready in 30 s"),
                _objective("scan_done", "Scans done in 10 s"),
                _objective("video_ready", "Videos ready in their duration"),
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
                    "Videos: upload to ready, as a multiple of the duration",
                    _quantiles("media_video_ready_ratio", ""),
                    help="The objective is 1, or a minute for shorter videos.",
                ),
            ],
        ),
    ],
)

FAILURES = Row(
    "What fails, and why?",
    [
        (
            7,
            [
                Panel(
                    "Assets that were rejected or failed, by code",
                    [(f"topk(12, {_BY_CODE})", "{{status}}: {{code}}")],
                    kind="bargauge",
                    help="In the selected time range. docs/codes.md explains each code.",
                ),
                Panel(
                    "Failed attempts, by cause",
                    [("sum by (stage, code) (rate(media_stage_failures_total[5m]))", "{{stage}}: {{code}}")],
                    "ops",
                    help="Our errors, which are retried. The assets become `failed` unless the cause is fixed.",
                ),
                Panel(
                    "Unavailable dependencies",
                    [("max by (dependency) (media_circuit_open)", "{{dependency}}")],
                    help="1 while the queues that need the dependency are paused.",
                    highest=1,
                ),
                Panel(
                    "API: error responses",
                    [('sum by (status) (rate(media_http_requests_total{status=~"[45].."}[5m]))', "{{status}}")],
                    "reqps",
                ),
            ],
        )
    ],
)

COST = Row(
    "What does it cost?",
    [
        (
            6,
            [
                Panel(
                    "Cost of a month at this rate",
                    [("sum(part:media_cost_dollars:hourly) * 730", "")],
                    "currencyUSD",
                    "stat",
                    "Counters × list prices, see deploy/prometheus/costs.yaml. Without storage, delivery, Postgres.",
                ),
                Panel(
                    "Cost of 1,000 ready assets",
                    [(f"sum(part:media_cost_dollars:hourly) / ({_READY_HOURLY} > 0) * 1000", "")],
                    "currencyUSD",
                    "stat",
                    "All costs of the last hour ÷ the assets that became ready in it.",
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
                    "Transcoded seconds of output per second",
                    [("sum by (engine, kind) (rate(media_transcoded_seconds_total[15m]))", "{{engine}} {{kind}}")],
                ),
            ],
        )
    ],
)

DETAILS = Row(
    "Details",
    [
        (
            7,
            [
                Panel("Time to drain", [("queue:media_drain_seconds", "{{queue}}")], "s"),
                Panel(
                    "Sent to acknowledged, p99",
                    _p99("media_message_dwell_seconds", "queue"),
                    "s",
                    help="Duplicates have no work, and a message that is repeated is measured at its end.",
                ),
                Panel("Time in the handler, p99", _p99("media_handler_duration_seconds", "handler"), "s"),
                Panel(
                    "In-flight messages: running and waiting",
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
                Panel("Share of attempts that fail", [("queue:media_failures:ratio15m", "{{queue}}")], "percentunit"),
                Panel("Verdicts", [("sum by (verdict) (rate(media_scans_total[5m]))", "{{verdict}}")], "ops"),
                Panel("Outside the objective, 6 h", [("slo:media_bad:ratio6h", "{{slo}}")], "percentunit"),
            ],
        ),
        (
            7,
            [
                Panel("Dead letters", [("max by (queue) (media_dlq_messages)", "{{queue}}")]),
                Panel(
                    "Messages lost while running",
                    [("sum by (queue) (increase(media_visibility_lost_total[5m]))", "{{queue}}")],
                ),
                Panel("Due outbox effects", [("max(media_outbox_pending)", "rows")]),
                Panel("Oldest unfinished asset", [("max(media_oldest_unfinished_asset_seconds)", "age")], "s"),
                Panel(
                    "Oldest unsent event, and delay of the sent ones",
                    [
                        ("max(media_oldest_unsent_event_seconds)", "oldest"),
                        ("histogram_quantile(0.95, sum by (le) (rate(media_event_delay_seconds_bucket[5m])))", "p95"),
                    ],
                    "s",
                ),
            ],
        ),
        (
            7,
            [
                Panel("API latency, p99", _p99("media_http_request_duration_seconds", "route"), "s"),
                Panel(
                    "API responses", [("sum by (status) (rate(media_http_requests_total[5m]))", "{{status}}")], "reqps"
                ),
                Panel(
                    "API: rate-limited requests, and open event streams",
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
                    "Consumers and APIs that are up, and restarts",
                    [
                        ('sum by (job) (up{job=~"media-.*"})', "{{job}}"),
                        (
                            'sum by (job) (changes(process_start_time_seconds{job=~"media-.*"}[30m]))',
                            "{{job}} restarts in 30 min",
                        ),
                    ],
                ),
                Panel(
                    "Failed SQS requests",
                    [
                        (
                            'sum by (queue, operation) (rate(media_sqs_requests_total{result="error"}[5m]))',
                            "{{queue}} {{operation}}",
                        )
                    ],
                    "ops",
                ),
                Panel("Scanned bytes", [("sum(rate(media_scanned_bytes_total[5m]))", "bytes")], "Bps"),
                Panel("Age of the signatures", [("max(media_scanner_database_age_seconds)", "age")], "s"),
            ],
        ),
        (
            7,
            [
                Panel(
                    "Uploads that arrived",
                    [("sum by (asset_type) (rate(media_uploads_total[5m]))", "{{asset_type}}")],
                    "ops",
                ),
                Panel(
                    "Uploaded bytes",
                    [("sum by (asset_type) (rate(media_upload_bytes_total[5m]))", "{{asset_type}}")],
                    "Bps",
                ),
                Panel(
                    "Builds that run",
                    [
                        (
                            'count by (job, version, commit) (media_build_info{job=~"media-.*"})',
                            "{{job}} {{version}} {{commit}}",
                        )
                    ],
                    help="Two of a job during a release.",
                ),
            ],
        ),
    ],
    folded=True,
)

ROWS = (KEEPING_UP, FAILURES, COST, DETAILS)
