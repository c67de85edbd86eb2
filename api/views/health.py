"""Liveness, readiness and metrics of the service."""

import asyncio

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.json_io import json_response
from api.problems import ProblemCode, ProblemError
from api.schemas.assets import HealthOut
from api.server.draining import DRAINING
from api.service import service_of

READY_DEADLINE = 2.0
"""Seconds for Postgres, and again for the identity service. Both are less than the deadline of a load balancer."""


async def health(_request: web.Request) -> web.Response:
    return json_response(HealthOut())


async def livez(_request: web.Request) -> web.Response:
    """Say that the process is alive: its event loop runs."""
    return json_response(HealthOut())


async def readyz(request: web.Request) -> web.Response:
    """Say whether the API is ready: Postgres answers, keys were fetched once, and no stop was requested."""
    if request.app[DRAINING].is_set():
        raise ProblemError(ProblemCode.UNAVAILABLE, "the API is stopping")
    service = service_of(request)
    try:
        async with asyncio.timeout(READY_DEADLINE):
            await service.database.fetchval("SELECT 1")
    except TimeoutError as error:
        raise ProblemError(ProblemCode.UNAVAILABLE, "Postgres does not answer") from error
    try:
        async with asyncio.timeout(READY_DEADLINE):
            has_keys = await service.authenticator.has_keys()
    except TimeoutError:  # the keys are still being fetched
        has_keys = False
    if not has_keys:
        raise ProblemError(ProblemCode.UNAVAILABLE, "the keys of the identity service cannot be had")
    return json_response(HealthOut())


PROXIED = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Amzn-Trace-Id")
"""Headers that proxies add to a request. AWS's load balancer adds three of them, and clients cannot prevent it."""


async def metrics(request: web.Request) -> web.Response:
    """Return the metrics to Prometheus, which asks each task directly. Through a proxy they are not found."""
    # A rule of the load balancer would not do: it does not match `/%6detrics`, which arrives here too.
    if any(name in request.headers for name in PROXIED):
        raise ProblemError(ProblemCode.NOT_FOUND)
    body = generate_latest(service_of(request).metrics.registry)
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})
