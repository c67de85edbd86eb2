"""Logs and metrics of the service."""

import asyncio
import logging
import re
import sys
import threading
import time
from collections.abc import Mapping, MutableMapping
from enum import StrEnum
from types import TracebackType
from typing import Any, TextIO

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from media import VERSION
from media.asset import AssetType, Verdict
from media.process.log_writer import LINES_DROPPED
from media.settings import QUEUES

_SECRET = re.compile(r"((?:token|X-Amz-Signature|X-Amz-Credential|X-Amz-Security-Token|Signature|Policy)=)[^&\s\"']+")
_HANDLER_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
_DWELL_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600, 14_400)
_READY_BUCKETS = (0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 900, 3600, 14_400)
_SCAN_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_RATIO_BUCKETS = (0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 5, 10, 100)
LAG_INTERVAL = 0.5
"""Seconds between two measurements of the event loop's lag."""
_USUAL_TRACE = re.compile(r"[A-Za-z0-9=;:._-]{1,120}")
"""A trace id that may be an exemplar. OpenMetrics allows 128 characters, the label's name included."""


_TRACES = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
"""Renders stack traces without local variables, which hold tokens, signatures and keys."""


def writes_json(log_format: str, stream: TextIO | None = None) -> bool:
    """Say whether lines for `stream` (standard output) are JSON. `auto` means JSON on anything but a terminal."""
    return log_format == "json" or (log_format == "auto" and not (stream or sys.stdout).isatty())


def configure_logging(log_format: str, log_level: str, stream: Any = None) -> None:
    """Log JSON lines to standard output (or `stream`), or colored ones to a terminal.

    Values of signatures and tokens are redacted.
    """
    processors = _processors(as_json=writes_json(log_format))
    level = logging.getLevelNamesMapping()[log_level.upper()]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream or sys.stdout),
        cache_logger_on_first_use=True,
    )
    # Lines of libraries (asyncio, aiohttp, warnings) have the same form, with the logger's name.
    handler = logging.StreamHandler(stream or sys.stdout)
    own = [structlog.stdlib.add_logger_name, structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=[*own, *processors]))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def explain_failure(reason: object, log_format: str = "auto") -> None:
    """Tell on standard error why this process does not run: a terminal as it stands, others by a line of the log."""
    if writes_json(log_format, sys.stderr):
        line = structlog.WriteLogger(sys.stderr)
        structlog.wrap_logger(line, _processors(as_json=True)).critical("process.cannot_run", reason=str(reason))
    else:
        sys.stderr.write(f"{reason}\n")
    sys.stderr.flush()


def _processors(*, as_json: bool) -> list[Any]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _TRACES if as_json else structlog.processors.StackInfoRenderer(),
        _redact,
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]


def log_uncaught() -> None:
    """Log warnings and whatever nobody catches, which Python would print to standard error as plain text."""
    log = structlog.get_logger("python")
    logging.captureWarnings(True)

    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
        else:
            log.critical("process.uncaught", exc_info=(kind, error, trace))

    def uncaught_in_thread(given: threading.ExceptHookArgs) -> None:
        error = given.exc_value or given.exc_type()
        log.critical("thread.uncaught", thread=given.thread and given.thread.name, exc_info=error)

    def unraisable(given: "sys.UnraisableHookArgs") -> None:
        log.error("process.unraisable", where=repr(given.object), exc_info=given.exc_value)

    sys.excepthook, threading.excepthook, sys.unraisablehook = uncaught, uncaught_in_thread, unraisable


def redact(text: str) -> str:
    """Remove the values of tokens and signatures from URLs in `text`."""
    return _SECRET.sub(r"\1[redacted]", text)


def _redact(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Redact each text, in the dictionaries and lists of a stack trace too."""

    def redacted(value: Any) -> Any:
        match value:
            case str():
                return redact(value)
            case dict():
                return {name: redacted(part) for name, part in value.items()}
            case list():
                return [redacted(part) for part in value]
        return value

    return {key: redacted(value) for key, value in event.items()}


class Objective(StrEnum):
    """Objectives of which 99 % shall be good. Alert rules and dashboard use these names."""

    IMAGE_READY = "image_ready"
    SCAN_DONE = "scan_done"
    VIDEO_READY = "video_ready"


def service_registry(*, commit: str = "unknown", environment: str = "") -> CollectorRegistry:
    """Make a registry that says of which build and environment a process is, and what it uses."""
    disable_created_metrics()  # type: ignore[no-untyped-call] # each would be a series of its own, and rates do not need it
    registry = CollectorRegistry(target_info={"environment": environment} if environment else None)
    registry.register(LINES_DROPPED)
    ProcessCollector(registry=registry)  # process_start_time_seconds shows restarts
    build = Gauge("media_build_info", "Always 1.", ("version", "commit"), registry=registry)
    build.labels(VERSION, commit).set(1)
    return registry


def exemplar(trace_id: str) -> dict[str, str] | None:
    """Return the exemplar of an observation: the trace id, as log lines have it. None without a usable one.

    Messages of other services bring trace ids, and one that cannot be parsed would spoil every scrape.
    """
    return {"trace_id": trace_id} if _USUAL_TRACE.fullmatch(trace_id) else None


class UploadCounters:
    """Counts files that arrived. Whichever process binds a file to its asset counts it, so each is counted once."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._files = Counter("media_uploads_total", "Files that arrived.", ("asset_type",), registry=registry)
        self._bytes = Counter("media_upload_bytes_total", "Bytes of these.", ("asset_type",), registry=registry)
        for asset_type in AssetType:
            self._files.labels(asset_type)
            self._bytes.labels(asset_type)

    def count(self, asset_type: AssetType, size: int | None) -> None:
        self._files.labels(asset_type).inc()
        self._bytes.labels(asset_type).inc(size or 0)


class Metrics:
    """Every metric of the service, in one registry. Labels never hold a key, a tenant or a message id."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or service_registry()
        self.uploads = UploadCounters(self.registry)
        self._counters()
        self._histograms()
        self._gauges()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"media_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"media_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"media_{name}", text, labels, registry=self.registry, buckets=buckets)

    def _counters(self) -> None:
        self.received = self._counter("messages_received_total", "Messages received.", "queue")
        self.processed = self._counter(
            "messages_processed_total",
            "Messages that ended, by outcome.",
            "queue",
            "handler",
            "outcome",
        )
        self.extensions = self._counter(
            "visibility_extensions_total",
            "Visibility extensions asked for.",
            "queue",
            "result",
        )
        self.lost = self._counter("visibility_lost_total", "Messages that were lost while at work.", "queue")
        self.requests = self._counter("sqs_requests_total", "Requests to SQS.", "queue", "operation", "result")
        self.scans = self._counter("scans_total", "Scans, by verdict.", "verdict")
        self.scanned_bytes = self._counter("scanned_bytes_total", "Bytes sent to the scanner.")
        self.renditions = self._counter("renditions_total", "Renditions made.", "kind")
        self.objectives = self._counter(
            "objective_events_total",
            "Events of an objective, good or bad.",
            "slo",
            "result",
        )
        self.ended = self._counter(
            "assets_ended_total",
            "Assets that ended, by status and code.",
            "asset_type",
            "status",
            "code",
        )
        self.failures = self._counter(
            "stage_failures_total",
            "Attempts that failed by our fault, by code.",
            "stage",
            "code",
        )
        self.transcoded = self._counter(
            "transcoded_seconds_total",
            "Seconds of output that a transcoder made.",
            "engine",
            "kind",
        )
        self.aws = self._counter("aws_requests_total", "Requests to S3 and MediaConvert.", "service", "operation")
        self.events_sent = self._counter("events_sent_total", "Events that the bus has taken.", "kind")
        self.events_failed = self._counter("events_failed_total", "Sendings of an event that failed.")
        # Alert rules look at increases. A series that begins with its first event would show none.
        for verdict in Verdict:
            self.scans.labels(verdict)
        for kind in ("image", "video"):
            self.renditions.labels(kind)
        for slo in Objective:
            for result in ("good", "bad"):
                self.objectives.labels(slo, result)
        for queue in QUEUES:
            self._begin(queue)

    def _begin(self, queue: str) -> None:
        self.lost.labels(queue)
        for result in ("ok", "error", "failed", "gone"):
            self.extensions.labels(queue, result)
        for operation in ("receive", "delete", "release", "extend", "send", "attributes"):
            for result in ("ok", "error"):
                self.requests.labels(queue, operation, result)
        for operation in ("send", "attributes"):
            for result in ("ok", "error"):
                self.requests.labels(f"{queue}-dlq", operation, result)

    def _histograms(self) -> None:
        self.duration = self._histogram(
            "handler_duration_seconds",
            "Time a handler took.",
            _HANDLER_BUCKETS,
            "queue",
            "handler",
        )
        self.dwell = self._histogram(
            "message_dwell_seconds",
            "From sent to the end of the message's work, without duplicates and repetitions.",
            _DWELL_BUCKETS,
            "queue",
        )
        self.ready = self._histogram(
            "asset_ready_seconds",
            "From upload to ready.",
            _READY_BUCKETS,
            "asset_type",
        )
        self.scan_done = self._histogram("scan_done_seconds", "From upload to verdict.", _SCAN_BUCKETS)
        self.video_ratio = self._histogram(
            "video_ready_ratio",
            "From upload to ready, in lengths of the video.",
            _RATIO_BUCKETS,
        )
        for queue in QUEUES:
            self.dwell.labels(queue)
        for asset_type in AssetType:
            self.ready.labels(asset_type)
        self.event_delay = self._histogram(
            "event_delay_seconds",
            "From a change to the bus that took its event.",
            _DWELL_BUCKETS,
        )
        self.loop_lag = self._histogram(
            "event_loop_lag_seconds",
            "Lateness of the event loop.",
            (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5),
        )

    def _gauges(self) -> None:
        self.in_flight = self._gauge("messages_in_flight", "Messages held, waiting or running.", "queue", "state")
        self.last_poll = self._gauge(
            "poll_last_success_timestamp_seconds",
            "When a receive last succeeded.",
            "queue",
        )
        self.poll_errors = self._gauge("poll_consecutive_errors", "Receives that failed in a row.", "queue")
        self.circuit_open = self._gauge("circuit_open", "1 while a dependency counts as down.", "dependency")
        self.backlog = self._gauge("backlog_messages", "Messages waiting in a queue.", "queue")
        self.dead = self._gauge("dlq_messages", "Messages in a dead-letter queue.", "queue")
        self.outbox = self._gauge("outbox_pending", "Outbox rows that are due, or have failed.")
        self.oldest_event = self._gauge("oldest_unsent_event_seconds", "Age of the oldest event that is not sent yet.")
        self.oldest = self._gauge("oldest_unfinished_asset_seconds", "Age of the oldest asset still at work.")
        self.database_age = self._gauge("scanner_database_age_seconds", "Age of ClamAV's signature database.")
        self.draining = self._gauge("draining", "1 while the daemon stops.")


async def watch_loop(lag: Histogram) -> None:
    """Measure the event loop's lag for ever. Ends by cancellation only."""
    while True:
        before = time.perf_counter()
        await asyncio.sleep(LAG_INTERVAL)
        lag.observe(max(0.0, time.perf_counter() - before - LAG_INTERVAL))
