"""Whether the service lives, is ready, and what it counts."""

import asyncio

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.json_io import json_response
from api.problems import ProblemCode, ProblemError
from api.schemas.assets import HealthOut
from api.server.draining import DRAINING
from api.service import service_of

READY_DEADLINE = 2.0
"""Seconds for Postgres, and for the identity service: together below the usual deadline of a balancer's check."""


async def health(_request: web.Request) -> web.Response:
    return json_response(HealthOut())


async def livez(_request: web.Request) -> web.Response:
    """Alive: the event loop turned to answer this."""
    return json_response(HealthOut())


async def readyz(request: web.Request) -> web.Response:
    """Ready: Postgres answers, the identity service's keys were had once, and nobody has asked us to stop."""
    if request.app[DRAINING].is_set():
        raise ProblemError(ProblemCode.UNAVAILABLE, "on its way out")
    service = service_of(request)
    try:
        async with asyncio.timeout(READY_DEADLINE):
            await service.database.fetchval("SELECT 1")
    except TimeoutError as error:
        raise ProblemError(ProblemCode.UNAVAILABLE, "Postgres does not answer") from error
    try:
        async with asyncio.timeout(READY_DEADLINE):
            has_keys = await service.authenticator.has_keys()
    except TimeoutError:  # The keys are still being asked for.
        has_keys = False
    if not has_keys:
        raise ProblemError(ProblemCode.UNAVAILABLE, "the keys of the identity service cannot be had")
    return json_response(HealthOut())


PROXIED = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Amzn-Trace-Id")
"""What proxies add to a request; AWS's load balancer three of them, and nobody before it can take them off."""


async def metrics(request: web.Request) -> web.Response:
    """For Prometheus, which asks each task itself. What came through a proxy is told that there is nothing.

    Whatever the spelling of the path, it ends here: `/%6detrics` is one that a load balancer's rule does not see.
    """
    if any(name in request.headers for name in PROXIED):
        raise ProblemError(ProblemCode.NOT_FOUND)
    body = generate_latest(service_of(request).metrics.registry)
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})
