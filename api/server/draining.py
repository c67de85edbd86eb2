"""Draining: the API is no longer ready, so that load balancers look elsewhere, but still answers requests."""

import asyncio
import contextlib

from aiohttp import web

DRAINING = web.AppKey("draining", asyncio.Event)
"""Set once a stop was requested."""


async def reject_while_draining(request: web.Request, response: web.StreamResponse) -> None:
    """Close the connection after each response while the API drains. Runs as a signal before each response."""
    if request.app[DRAINING].is_set():
        response.force_close()
        response.headers["Connection"] = "close"  # aiohttp set the header before it called us


async def drain(app: web.Application, delay: float, hurry: asyncio.Event) -> None:
    """Be not ready for `delay` seconds, or until `hurry`. Requests are still answered."""
    app[DRAINING].set()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(delay):
            await hurry.wait()
