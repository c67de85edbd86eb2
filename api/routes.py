"""Every endpoint: its method and path, who answers, what goes in, what comes out, and which problems it knows."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from aiohttp import web
from pydantic import BaseModel

from api import schemas
from api.middlewares import ENDLESS
from api.problems import ProblemCode
from api.views import assets, callbacks, events, health, uploads, urls
from media.contracts import TranscodeProgress

MEDIA = "/api/v1/media"
INTERNAL = "/api/v1/internal/media"
_AUTH = (ProblemCode.UNAUTHENTICATED, ProblemCode.TOKEN_EXPIRED, ProblemCode.OWNER_ID_NOT_ALLOWED)
_BODY = (
    ProblemCode.UNSUPPORTED_MEDIA_TYPE,
    ProblemCode.BODY_TOO_LARGE,
    ProblemCode.REQUEST_TIMEOUT,
    ProblemCode.INVALID_REQUEST,
)
_NO_URL = (ProblemCode.DELETED, ProblemCode.NOT_READY, ProblemCode.REJECTED, ProblemCode.FAILED)
_CALLBACK = (
    *_BODY,
    ProblemCode.SIGNATURE_INVALID,
    ProblemCode.SIGNATURE_REPLAYED,
    ProblemCode.NOT_FOUND,
    ProblemCode.DELETED,
    ProblemCode.JOB_MISMATCH,
)
ALWAYS = (ProblemCode.UNAVAILABLE, ProblemCode.TIMEOUT, ProblemCode.INTERNAL_ERROR)
"""What any endpoint may answer."""


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint. `problems` are those it raises itself; what any may answer is `ALWAYS`."""

    method: str
    path: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    status: int = 200
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    media_type: str = "application/json"
    bearer: bool = True
    cached: bool = False
    endless: bool = False
    headers: Sequence[str] = ()
    problems: Sequence[ProblemCode] = ()


ROUTES = (
    Route(
        "POST",
        f"{MEDIA}/upload",
        uploads.start_upload,
        status=201,
        body=schemas.UploadRequest,
        answer=schemas.UploadSlot,
        headers=("Idempotency-Key",),
        problems=(
            *_AUTH,
            *_BODY,
            ProblemCode.DELIVERY_NOT_ALLOWED,
            ProblemCode.TOO_LARGE,
            ProblemCode.CONTENT_TYPE_NOT_ALLOWED,
            ProblemCode.IDEMPOTENCY_KEY_REUSED,
        ),
    ),
    Route(
        "POST",
        f"{MEDIA}/upload/confirm",
        uploads.confirm_upload,
        body=schemas.ConfirmRequest,
        answer=schemas.AssetOut,
        problems=(
            *_AUTH,
            *_BODY,
            ProblemCode.NOT_FOUND,
            ProblemCode.DELETED,
            ProblemCode.NOT_UPLOADED,
            ProblemCode.SIZE_MISMATCH,
            ProblemCode.TYPE_MISMATCH,
            ProblemCode.TOO_LARGE,
        ),
    ),
    Route(
        "GET",
        f"{MEDIA}/assets",
        assets.list_assets,
        query=schemas.ListingQuery,
        answer=schemas.Listing,
        cached=True,
        problems=(*_AUTH, ProblemCode.INVALID_REQUEST),
    ),
    # Before `assets/{asset_id}`, which would take `events` for an id.
    Route(
        "GET",
        f"{MEDIA}/assets/events",
        events.all_events,
        query=schemas.EventsQuery,
        media_type="text/event-stream",
        endless=True,
        headers=("Last-Event-ID",),
        problems=(*_AUTH, ProblemCode.INVALID_REQUEST, ProblemCode.TOO_MANY_CONNECTIONS),
    ),
    Route(
        "GET",
        f"{MEDIA}/assets/{{asset_id}}",
        assets.show_asset,
        answer=schemas.AssetOut,
        cached=True,
        problems=(*_AUTH, ProblemCode.NOT_FOUND),
    ),
    Route(
        "DELETE",
        f"{MEDIA}/assets/{{asset_id}}",
        assets.delete_asset,
        status=204,
        problems=(*_AUTH, ProblemCode.NOT_FOUND),
    ),
    Route(
        "GET",
        f"{MEDIA}/assets/{{asset_id}}/url",
        urls.show_url,
        query=schemas.UrlQuery,
        answer=schemas.UrlOut,
        problems=(
            *_AUTH,
            *_NO_URL,
            ProblemCode.NOT_FOUND,
            ProblemCode.RENDITION_NOT_FOUND,
            ProblemCode.INVALID_REQUEST,
        ),
    ),
    Route(
        "GET",
        f"{MEDIA}/assets/{{asset_id}}/timeline",
        assets.show_timeline,
        answer=schemas.Timeline,
        cached=True,
        problems=(*_AUTH, ProblemCode.NOT_FOUND),
    ),
    Route(
        "GET",
        f"{MEDIA}/assets/{{asset_id}}/hls/{{path:.+}}",
        urls.show_playlist,
        query=schemas.PlaylistQuery,
        media_type="application/vnd.apple.mpegurl",
        bearer=False,
        problems=(
            ProblemCode.UNAUTHENTICATED,
            ProblemCode.TOKEN_EXPIRED,
            *_NO_URL,
            ProblemCode.NOT_FOUND,
            ProblemCode.RENDITION_NOT_FOUND,
            ProblemCode.PLAYLIST_UNUSABLE,
        ),
    ),
    Route(
        "POST",
        f"{MEDIA}/events/ticket",
        events.make_ticket,
        status=201,
        answer=schemas.TicketOut,
        problems=_AUTH,
    ),
    Route(
        "GET",
        f"{MEDIA}/assets/{{asset_id}}/events",
        events.asset_events,
        query=schemas.EventsQuery,
        media_type="text/event-stream",
        endless=True,
        problems=(*_AUTH, ProblemCode.INVALID_REQUEST, ProblemCode.NOT_FOUND, ProblemCode.TOO_MANY_CONNECTIONS),
    ),
    Route(
        "POST",
        f"{INTERNAL}/callback/transcode",
        callbacks.transcode_callback,
        status=202,
        body=TranscodeProgress,
        answer=schemas.AcceptedOut,
        bearer=False,
        headers=("X-Media-Signature",),
        problems=_CALLBACK,
    ),
    Route(
        "POST",
        f"{INTERNAL}/callback/image",
        callbacks.image_callback,
        status=202,
        body=schemas.ImageCallback,
        answer=schemas.AcceptedOut,
        bearer=False,
        headers=("X-Media-Signature",),
        problems=_CALLBACK,
    ),
    Route("GET", "/health", health.health, answer=schemas.HealthOut, bearer=False),
    Route("GET", "/livez", health.livez, answer=schemas.HealthOut, bearer=False),
    Route("GET", "/readyz", health.readyz, answer=schemas.HealthOut, bearer=False),
    Route("GET", "/metrics", health.metrics, media_type="text/plain", bearer=False),
)


def add_routes(app: web.Application) -> None:
    """Every GET answers HEAD too, streams excepted."""
    app[ENDLESS] = frozenset(route.handler for route in ROUTES if route.endless)
    for route in ROUTES:
        if route.method == "GET" and not route.endless:
            app.router.add_get(route.path, route.handler)
        else:
            app.router.add_route(route.method, route.path, route.handler)
