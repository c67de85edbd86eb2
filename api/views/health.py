"""Liveness, readiness and metrics of the service."""

from aiohttp import web

from api.json_io import json_response
from api.problems import ProblemCode, ProblemError
from api.schemas.assets import HealthOut
from api.server.draining import DRAINING
from api.server.public_origin import came_through_proxy
from api.service import service_of
from media.network.exposition import metrics_page


async def health(_request: web.Request) -> web.Response:
    return json_response(HealthOut())


async def livez(request: web.Request) -> web.Response:
    """Say that the process is alive: its event loop runs, and it needs no restart to go on."""
    if reason := service_of(request).database.needs_restart:
        raise ProblemError(ProblemCode.UNAVAILABLE, reason)
    return json_response(HealthOut())


async def readyz(request: web.Request) -> web.Response:
    """Say whether the API is ready: all that it needs answers, and no stop was requested."""
    if request.app[DRAINING].is_set():
        raise ProblemError(ProblemCode.UNAVAILABLE, "the API is stopping")
    if reasons := await service_of(request).readiness.reasons():
        raise ProblemError(ProblemCode.UNAVAILABLE, "; ".join(reasons))
    return json_response(HealthOut())


async def metrics(request: web.Request) -> web.Response:
    """Return the metrics to Prometheus, which asks each task directly. Through a proxy they are not found."""
    # A rule of the load balancer would not do: it does not match `/%6detrics`, which arrives here too.
    if came_through_proxy(request):
        raise ProblemError(ProblemCode.NOT_FOUND)
    body, headers = metrics_page(service_of(request).metrics.registry, request.headers)
    return web.Response(body=body, headers=headers)
