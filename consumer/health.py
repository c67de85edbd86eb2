"""Serves /livez, /readyz and /metrics of a daemon, on a port of its own."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import structlog
from aiohttp import web

from consumer.queue.poller import Poller
from media.network.exposition import metrics_page
from media.network.listening import listen
from media.telemetry import Metrics

log = structlog.get_logger(__name__)


class Health:
    """Reports a daemon's health: alive unless a restart is the only help, ready while it can do all its work.

    `ready` returns the reasons why it is not ready, `needs_restart` the reason why nothing else helps, or "". A daemon
    that is `busy` is not ended for that reason: what it holds may not need what it has lost.
    """

    def __init__(
        self,
        pollers: Sequence[Poller],
        ready: Callable[[], Awaitable[list[str]]],
        metrics: Metrics,
        needs_restart: Callable[[], str] = str,
        busy: Callable[[], bool] = bool,
    ) -> None:
        self._pollers = pollers
        self._ready = ready
        self._metrics = metrics
        self._needs_restart = needs_restart
        self._busy = busy

    def stuck(self) -> list[str]:
        """Return the queues whose poll loop has not turned in time."""
        now = time.monotonic()
        return [p.name for p in self._pollers if not p.ended and now - p.turned > p.allowance]

    def hopeless(self) -> str:
        """Return why nothing but a restart helps, or an empty text."""
        return "" if self._busy() else self._needs_restart()

    @asynccontextmanager
    async def serve(self, hosts: str, port: int) -> AsyncIterator[int]:
        """Serve until the end of the context; yield the port. Raises OSError when the port is taken."""
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._export)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        await runner.setup()
        try:
            for listening in listen(hosts, port):
                await web.SockSite(runner, listening).start()
            yield int(runner.addresses[0][1])
        finally:
            await runner.cleanup()

    async def _livez(self, _request: web.Request) -> web.Response:
        stuck, reason = self.stuck(), self.hopeless()
        if reason:
            log.error("health.hopeless", reason=reason)
        body = {"status": "stuck" if stuck else "hopeless" if reason else "ok", "stuck": stuck}
        return web.json_response(body | ({"reason": reason} if reason else {}), status=503 if stuck or reason else 200)

    async def _readyz(self, _request: web.Request) -> web.Response:
        reasons = await self._ready()
        body = {"status": "not ready" if reasons else "ready", "reasons": reasons}
        return web.json_response(body, status=503 if reasons else 200)

    async def _export(self, request: web.Request) -> web.Response:
        body, headers = metrics_page(self._metrics.registry, request.headers)
        return web.Response(body=body, headers=headers)
