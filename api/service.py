"""The parts that the views use, made once in `api.app` and stored in the application under SERVICE."""

from dataclasses import dataclass, field

from aiohttp import web

from api.dead_letter_service import DeadLetterService
from api.delivery_urls import DeliveryUrls
from api.event_hub import EventHub
from api.hls_playback import PlaybackTokens
from api.metrics import ApiMetrics
from api.security.auth import Authenticator, Caller
from api.security.callback_signature import Callbacks
from api.security.rate_limits import ALLOWANCE, RATES, SUBJECT, RateLimits
from api.security.stream_tickets import Tickets
from media.asset_store.assets import AssetStore, MultipartUploadStore
from media.asset_store.database import Database
from media.asset_store.operations import Operations
from media.asset_store.stages import StageStore
from media.aws.s3 import ObjectStorage
from media.aws.s3_multipart import MultipartUploads
from media.network.readiness import Readiness
from media.outbox import Outbox
from media.settings import Settings


@dataclass(frozen=True, slots=True)
class Service:
    """The wired parts of the API. Keys for our own tokens and ids are derived from `secret`."""

    settings: Settings
    database: Database
    assets: AssetStore
    stages: StageStore
    part_store: MultipartUploadStore
    operations: Operations
    dead_letters: DeadLetterService
    outbox: Outbox
    storage: ObjectStorage
    parts: MultipartUploads
    delivery_urls: DeliveryUrls
    playback: PlaybackTokens
    tickets: Tickets
    hub: EventHub
    callbacks: Callbacks | None
    authenticator: Authenticator
    rates: RateLimits
    metrics: ApiMetrics
    readiness: Readiness
    secret: str = field(repr=False)


SERVICE = web.AppKey("service", Service)


def service_of(request: web.Request) -> Service:
    return request.app[SERVICE]


async def caller_of(request: web.Request) -> Caller:
    """Authenticate the request and count it. Raises ProblemError(unauthenticated, rate_limited, …)."""
    caller = await request.app[SERVICE].authenticator.caller(request.headers.get("Authorization"))
    request[SUBJECT] = caller.subject
    return await admitted(request, caller)


async def admitted(request: web.Request, caller: Caller, amount: int = 1) -> Caller:
    """Count the request, as `amount`, against the limit of its endpoint's class. Raises ProblemError(rate_limited)."""
    allowance = await request.app[SERVICE].rates.admit(request.app[RATES][request.match_info.handler], caller, amount)
    if allowance:
        request[ALLOWANCE] = allowance
    return caller
