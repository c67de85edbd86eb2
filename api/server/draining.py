"""The API on its way out: no longer ready, so that balancers look elsewhere, while whoever still comes is served."""

import asyncio
import contextlib

from aiohttp import web

DRAINING = web.AppKey("draining", asyncio.Event)
"""Set once the API has been asked to stop."""


async def reject_while_draining(request: web.Request, response: web.StreamResponse) -> None:
    """A signal before each answer: while it drains, a connection carries no further request."""
    if request.app[DRAINING].is_set():
        response.force_close()
        response.headers["Connection"] = "close"  # aiohttp decided about the header before it asked us


async def drain(app: web.Application, delay: float, hurry: asyncio.Event) -> None:
    """Be not ready for `delay` seconds, or until `hurry`; requests go on being answered."""
    app[DRAINING].set()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(delay):
            await hurry.wait()
