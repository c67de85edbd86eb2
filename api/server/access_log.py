"""One log line per response. JSON lines bypass structlog's processors, which cost as much as the query."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog
from aiohttp import web

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AnsweredRequest:
    """The logged fields of a request: its route's pattern, never its path or query, which may contain tokens."""

    method: str
    route: str
    status: int
    seconds: float
    asset_id: str
    request_id: str


type AccessLog = Callable[[AnsweredRequest], None]
ACCESS_LOG: web.AppKey[AccessLog] = web.AppKey("access_log")


def by_structlog(answered: AnsweredRequest) -> None:
    """Log through structlog, like every other line."""
    log.info(
        "api.request",
        method=answered.method,
        route=answered.route,
        status=answered.status,
        ms=round(answered.seconds * 1000, 1),
        asset_id=answered.asset_id,
    )


class LineSink(Protocol):
    """A text stream for lines."""

    def write(self, text: str) -> int: ...

    def flush(self) -> None: ...


class JsonLines:
    """Write the same fields to `stream` as `by_structlog` does. None of them needs redacting."""

    def __init__(self, stream: LineSink) -> None:
        self._stream = stream
        self._second = 0
        self._stamp = ""

    def write(self, answered: AnsweredRequest) -> None:
        # Method, route and ids are our own, or checked character by character. The asset's id is whatever the path
        # contained, so it is escaped.
        asset_id = json.dumps(answered.asset_id) if answered.asset_id else '""'
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        stamp = f"{self._stamp}.{int((now - second) * 1_000_000):06d}Z"
        self._stream.write(
            f'{{"method": "{answered.method}", "route": "{answered.route}", "status": {answered.status}, '
            f'"ms": {answered.seconds * 1000:.1f}, "asset_id": {asset_id}, "event": "api.request", '
            f'"request_id": "{answered.request_id}", "level": "info", "timestamp": "{stamp}"}}\n'
        )
        self._stream.flush()
