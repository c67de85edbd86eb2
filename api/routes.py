"""All endpoints, in the order in which paths are matched."""

from aiohttp import web
from aiohttp.http import HttpVersion11

from api.problems import ProblemCode
from api.routing import AUTH, BODY, CALLBACK, INTERNAL, MEDIA, MERGE_PATCH, NO_URL, Endpoint
from api.schemas import assets as schemas
from api.schemas import multipart as part_schemas
from api.schemas import ops as ops_schemas
from api.security.rate_limits import RATES, RateLimit
from api.server.middlewares import ENDLESS
from api.views import assets, callbacks, events, health, multipart, ops, reports, uploads, urls
from media.contracts import TranscodeProgress
from media.public_asset import AssetOut

_NEW = (
    *AUTH,
    *BODY,
    ProblemCode.DELIVERY_NOT_ALLOWED,
    ProblemCode.TOO_LARGE,
    ProblemCode.TOO_LARGE_TO_SCAN,
    ProblemCode.CONTENT_TYPE_NOT_ALLOWED,
    ProblemCode.IDEMPOTENCY_KEY_REUSED,
)
_STORED = (ProblemCode.NOT_UPLOADED, ProblemCode.SIZE_MISMATCH, ProblemCode.TOO_LARGE)
_PARTS = f"{MEDIA}/upload/multipart/{{asset_id}}"

UPLOAD_ROUTES = (
    Endpoint(
        "GET", f"{MEDIA}/upload/limits", uploads.show_limits, response=schemas.UploadLimits, bearer=False, cached=True
    ),
    Endpoint(
        "POST",
        f"{MEDIA}/upload",
        uploads.start_upload,
        status=201,
        body=schemas.UploadRequest,
        response=schemas.UploadSlot,
        headers=("Idempotency-Key",),
        rate=RateLimit.WRITE,
        problems=(*_NEW, ProblemCode.DELETED),
    ),
    Endpoint(
        "POST",
        f"{MEDIA}/upload/confirm",
        uploads.confirm_upload,
        body=schemas.ConfirmRequest,
        response=AssetOut,
        rate=RateLimit.WRITE,
        problems=(*AUTH, *BODY, ProblemCode.NOT_FOUND, ProblemCode.DELETED, *_STORED),
    ),
    Endpoint(
        "POST",
        f"{MEDIA}/upload/multipart",
        multipart.start_parts,
        status=201,
        body=part_schemas.MultipartRequest,
        response=part_schemas.MultipartOut,
        headers=("Idempotency-Key",),
        rate=RateLimit.WRITE,
        problems=(*_NEW, ProblemCode.UPLOAD_ENDED),
    ),
    Endpoint(
        "GET",
        _PARTS,
        multipart.list_parts,
        response=part_schemas.MultipartOut,
        cached=True,
        problems=(*AUTH, ProblemCode.NOT_FOUND, ProblemCode.UPLOAD_ENDED),
    ),
    Endpoint(
        "POST",
        f"{_PARTS}/parts",
        multipart.sign_parts,
        body=part_schemas.PartsRequest,
        response=part_schemas.PartLinks,
        rate=RateLimit.URL,
        problems=(*AUTH, *BODY, ProblemCode.NOT_FOUND, ProblemCode.UPLOAD_ENDED),
    ),
    Endpoint(
        "POST",
        f"{_PARTS}/complete",
        multipart.complete_parts,
        body=part_schemas.CompleteRequest,
        response=AssetOut,
        rate=RateLimit.WRITE,
        problems=(
            *AUTH,
            *BODY,
            ProblemCode.NOT_FOUND,
            ProblemCode.DELETED,
            ProblemCode.UPLOAD_ENDED,
            ProblemCode.PARTS_MISSING,
            *_STORED,
        ),
    ),
    Endpoint(
        "DELETE",
        _PARTS,
        multipart.abort_parts,
        status=204,
        rate=RateLimit.WRITE,
        problems=(*AUTH, ProblemCode.NOT_FOUND, ProblemCode.UPLOAD_ENDED),
    ),
)

ROUTES = (
    *UPLOAD_ROUTES,
    Endpoint(
        "GET",
        f"{MEDIA}/assets",
        assets.list_assets,
        query=schemas.ListingQuery,
        response=schemas.Listing,
        cached=True,
        problems=(*AUTH, ProblemCode.INVALID_REQUEST),
    ),
    Endpoint(
        "POST",
        f"{MEDIA}/assets/urls",
        urls.show_urls,
        rate=RateLimit.URL,
        body=schemas.UrlsRequest,
        response=schemas.UrlsOut,
        problems=(*AUTH, *BODY),
    ),
    # Before `assets/{asset_id}`, which would match `events` as an id.
    Endpoint(
        "GET",
        f"{MEDIA}/assets/events",
        events.all_events,
        query=schemas.EventsQuery,
        media_type="text/event-stream",
        endless=True,
        rate=RateLimit.STREAM,
        headers=("Last-Event-ID",),
        problems=(*AUTH, ProblemCode.INVALID_REQUEST, ProblemCode.TOO_MANY_CONNECTIONS),
    ),
    Endpoint(
        "GET",
        f"{MEDIA}/assets/{{asset_id}}",
        assets.show_asset,
        response=AssetOut,
        cached=True,
        problems=(*AUTH, ProblemCode.NOT_FOUND),
    ),
    Endpoint(
        "PATCH",
        f"{MEDIA}/assets/{{asset_id}}",
        assets.change_asset,
        body=schemas.AssetPatch,
        body_types=MERGE_PATCH,
        response=AssetOut,
        rate=RateLimit.WRITE,
        problems=(
            *AUTH,
            *BODY,
            ProblemCode.NOT_FOUND,
            ProblemCode.DELETED,
            ProblemCode.NOT_READY,
            ProblemCode.DELIVERY_CHANGING,
            ProblemCode.DELIVERY_NOT_ALLOWED,
        ),
    ),
    Endpoint(
        "DELETE",
        f"{MEDIA}/assets/{{asset_id}}",
        assets.delete_asset,
        status=204,
        rate=RateLimit.WRITE,
        problems=(*AUTH, ProblemCode.NOT_FOUND),
    ),
    Endpoint(
        "GET",
        f"{MEDIA}/assets/{{asset_id}}/url",
        urls.show_url,
        rate=RateLimit.URL,
        query=schemas.UrlQuery,
        response=schemas.UrlOut,
        cached=True,
        problems=(
            *AUTH,
            *NO_URL,
            ProblemCode.NOT_FOUND,
            ProblemCode.RENDITION_NOT_FOUND,
            ProblemCode.NOT_SCANNED_WHOLE,
            ProblemCode.INVALID_REQUEST,
        ),
    ),
    Endpoint(
        "GET",
        f"{MEDIA}/assets/{{asset_id}}/report",
        reports.show_report,
        response=schemas.ReportOut,
        cached=True,
        problems=(
            *AUTH,
            *NO_URL,
            ProblemCode.NOT_FOUND,
            ProblemCode.REPORT_NOT_FOUND,
            ProblemCode.REPORT_UNUSABLE,
        ),
    ),
    Endpoint(
        "GET",
        f"{MEDIA}/assets/{{asset_id}}/timeline",
        assets.show_timeline,
        response=schemas.Timeline,
        cached=True,
        problems=(*AUTH, ProblemCode.NOT_FOUND),
    ),
    Endpoint(
        "GET",
        f"{MEDIA}/assets/{{asset_id}}/hls/{{path:.+}}",
        urls.show_playlist,
        query=schemas.PlaylistQuery,
        media_type="application/vnd.apple.mpegurl",
        bearer=False,
        problems=(
            ProblemCode.UNAUTHENTICATED,
            ProblemCode.TOKEN_EXPIRED,
            *NO_URL,
            ProblemCode.NOT_FOUND,
            ProblemCode.RENDITION_NOT_FOUND,
            ProblemCode.PLAYLIST_UNUSABLE,
        ),
    ),
    Endpoint(
        "POST",
        f"{MEDIA}/events/ticket",
        events.make_ticket,
        status=201,
        rate=RateLimit.STREAM,
        response=schemas.TicketOut,
        problems=AUTH,
    ),
    Endpoint(
        "GET",
        f"{MEDIA}/assets/{{asset_id}}/events",
        events.asset_events,
        query=schemas.EventsQuery,
        media_type="text/event-stream",
        endless=True,
        rate=RateLimit.STREAM,
        problems=(*AUTH, ProblemCode.INVALID_REQUEST, ProblemCode.NOT_FOUND, ProblemCode.TOO_MANY_CONNECTIONS),
    ),
    Endpoint(
        "POST",
        f"{INTERNAL}/callback/transcode",
        callbacks.transcode_callback,
        status=202,
        body=TranscodeProgress,
        response=schemas.AcceptedOut,
        bearer=False,
        headers=("X-Media-Signature",),
        problems=CALLBACK,
    ),
    Endpoint(
        "POST",
        f"{INTERNAL}/callback/image",
        callbacks.image_callback,
        status=202,
        body=schemas.ImageCallback,
        response=schemas.AcceptedOut,
        bearer=False,
        headers=("X-Media-Signature",),
        problems=CALLBACK,
    ),
    Endpoint(
        "GET",
        f"{MEDIA}/ops/summary",
        ops.show_summary,
        response=ops_schemas.OpsSummary,
        problems=(*AUTH, ProblemCode.ADMIN_ONLY),
    ),
    Endpoint(
        "POST",
        f"{MEDIA}/ops/redrive",
        ops.redrive,
        body=ops_schemas.RedriveRequest,
        response=ops_schemas.RedriveOut,
        rate=RateLimit.WRITE,
        problems=(*AUTH, *BODY, ProblemCode.ADMIN_ONLY),
    ),
    Endpoint(
        "GET",
        f"{MEDIA}/ops/dead-letters",
        ops.list_dead_letters,
        query=ops_schemas.DeadLetterQuery,
        response=ops_schemas.DeadLetterListing,
        problems=(*AUTH, ProblemCode.INVALID_REQUEST, ProblemCode.ADMIN_ONLY),
    ),
    Endpoint(
        "POST",
        f"{MEDIA}/ops/discard",
        ops.discard,
        body=ops_schemas.DiscardRequest,
        response=ops_schemas.DiscardOut,
        rate=RateLimit.WRITE,
        problems=(*AUTH, *BODY, ProblemCode.ADMIN_ONLY),
    ),
    Endpoint("GET", "/health", health.health, response=schemas.HealthOut, bearer=False),
    Endpoint("GET", "/livez", health.livez, response=schemas.HealthOut, bearer=False),
    Endpoint("GET", "/readyz", health.readyz, response=schemas.HealthOut, bearer=False),
    Endpoint(
        "GET", "/metrics", health.metrics, media_type="text/plain", bearer=False, problems=(ProblemCode.NOT_FOUND,)
    ),
)


def add_routes(app: web.Application) -> None:
    """Add all endpoints to the application. Every GET answers HEAD too, except streams."""
    app[RATES] = {route.handler: route.rate for route in ROUTES}
    app[ENDLESS] = frozenset(route.handler for route in ROUTES if route.endless)
    for route in ROUTES:
        if route.method == "GET" and not route.endless:
            app.router.add_get(route.path, route.handler, expect_handler=_handle_expect)
        else:
            app.router.add_route(route.method, route.path, route.handler, expect_handler=_handle_expect)


async def _handle_expect(request: web.Request) -> None:
    """Grant `Expect: 100-continue`, and ignore any other expectation, as RFC 9110 (10.1.1) allows."""
    if request.version >= HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # count the bytes of the response alone
