"""One line for every answer. As JSON it is written without structlog's processors, which cost as much as the query."""

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
    """What is told of a request: its route's pattern, never its path or query, where tokens travel."""

    method: str
    route: str
    status: int
    seconds: float
    asset_id: str
    request_id: str


type AccessLog = Callable[[AnsweredRequest], None]
ACCESS_LOG: web.AppKey[AccessLog] = web.AppKey("access_log")


def by_structlog(answered: AnsweredRequest) -> None:
    """Like every other line."""
    log.info(
        "api.request",
        method=answered.method,
        route=answered.route,
        status=answered.status,
        ms=round(answered.seconds * 1000, 1),
        asset_id=answered.asset_id,
    )


class LineSink(Protocol):
    """Where lines go."""

    def write(self, text: str) -> int: ...

    def flush(self) -> None: ...


class JsonLines:
    """Writes the same fields to `stream` as `by_structlog` does. Nothing in them needs redacting."""

    def __init__(self, stream: LineSink) -> None:
        self._stream = stream
        self._second = 0
        self._stamp = ""

    def write(self, answered: AnsweredRequest) -> None:
        # Method, route and ids are of our own making or checked character by character; `dumps` is for the asset's,
        # which is whatever stood in the path.
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
