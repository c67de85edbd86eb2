"""The metrics of the API. They have their own registry: the consumer's gauges would show a misleading zero here."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from media.telemetry import UploadCounters, exemplar, service_registry

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LAG = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)


class ApiMetrics:
    """All metrics of the API. Labels hold route patterns, never paths."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or service_registry()
        self.uploads = UploadCounters(self.registry)
        self.requests = Counter(
            "media_http_requests_total", "Requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self.duration = Histogram(
            "media_http_request_duration_seconds",
            "Time to the end of an answer.",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.loop_lag = Histogram(
            "media_event_loop_lag_seconds", "Lateness of the event loop.", buckets=_LAG, registry=self.registry
        )
        self._of_route: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self.rate_limited = Counter(
            "media_http_rate_limited_total", "Requests refused by a rate limit.", ("class",), registry=self.registry
        )
        self.rates_uncounted = Counter(
            "media_rate_limit_uncounted_total",
            "Requests not counted: Redis was away.",
            registry=self.registry,
        )
        self.aws = Counter(
            "media_aws_requests_total", "Requests to S3.", ("service", "operation"), registry=self.registry
        )
        self.connections = Gauge("media_http_connections", "Open connections.", registry=self.registry)
        cut = Counter(
            "media_http_connections_cut_total",
            "Connections ended by us: an answer was not read (stuck), many were not (crowd), too many open (full), idle"
            " where their client, or all together, had too many (idle).",
            ("reason",),
            registry=self.registry,
        )
        self.connections_cut = {reason: cut.labels(reason) for reason in ("stuck", "crowd", "full", "idle")}
        self.streams = Gauge("media_event_streams", "Open event streams.", registry=self.registry)

    def answered(self, method: str, route: str, status: int, seconds: float, trace_id: str) -> None:
        """Count one response."""
        # Label sets are looked up once: that costs more than counting.
        found = self._of_route.get((method, route, status))
        if found is None:
            found = self.requests.labels(method, route, str(status)), self.duration.labels(method, route)
            self._of_route[method, route, status] = found
        found[0].inc()
        found[1].observe(seconds, exemplar(trace_id))
