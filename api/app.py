"""Wire the API. Parts are stopped in the reverse order of their start."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import structlog
from aiohttp import web

from api.dead_letter_service import DeadLetterService
from api.delivery_urls import DeliveryUrls
from api.event_hub import EventHub
from api.hls_playback import PlaybackTokens
from api.json_io import BODY_LIMIT
from api.metrics import ApiMetrics
from api.routes import add_routes
from api.schemas.assets import URLS_AT_ONCE
from api.security.auth import Authenticator, KeySet, SecretKey
from api.security.callback_signature import Callbacks
from api.security.jwks import JwksKeys
from api.security.rate_limits import rate_limits
from api.security.stream_tickets import Tickets
from api.server.access_log import ACCESS_LOG, by_structlog
from api.server.draining import DRAINING, reject_while_draining
from api.server.middlewares import cross_origin, headers_for, observe
from api.service import SERVICE, Service
from api.views.docs import Docs
from api.views.page import dev_token, page_of
from media.asset_store import database
from media.asset_store.assets import AssetStore, MultipartUploadStore
from media.asset_store.operations import Operations
from media.asset_store.stages import StageStore
from media.aws import clients as aws
from media.aws.bucket_checks import VersioningCheck
from media.aws.s3 import ObjectStorage
from media.aws.s3_multipart import MultipartUploads
from media.aws.signed_urls import CloudFrontUrls, bucket_address
from media.aws.sqs import MessageQueues
from media.events.asset_event import SCHEMA_PATH
from media.network.listening import is_loopback, on_loopback_only
from media.network.proxies import proxy_for
from media.network.readiness import Ask, InTurn, Readiness
from media.outbox import EffectKind, Outbox
from media.setting_rules import each_secret
from media.settings import QUEUES, Settings, SettingsError
from media.telemetry import service_registry, watch_loop

log = structlog.get_logger(__name__)

UPLOADS_TEST = "uploads/self-test"
"""A key below the prefix that uploads are signed for. Nothing is ever stored there."""


def check(settings: Settings) -> dict[str, str]:
    """Check the settings that only the API needs. Return what is wrong, by variable."""
    wrong: dict[str, str] = {}
    if bool(settings.jwt_secret) == bool(settings.jwt_jwks_url):
        wrong["MEDIA_JWT_SECRET"] = "exactly one of it and MEDIA_JWT_JWKS_URL must be set"  # noqa: S105 - words
    if not settings.callback_secret and not settings.jwt_secret:
        wrong["MEDIA_CALLBACK_SECRET"] = "missing; it signs the HLS tokens where there is no MEDIA_JWT_SECRET"  # noqa: S105 - words
    if not on_loopback_only(settings.api_host):
        url = urlsplit(settings.public_url or "")
        if not settings.public_url:
            wrong["MEDIA_PUBLIC_URL"] = (
                "missing; the URLs of playlists begin with it, unless MEDIA_API_HOST is loopback"
            )
        # Browsers treat loopback like https, and such a URL leads to nobody's machine but the reader's own.
        elif url.scheme != "https" and not is_loopback(url.hostname):
            wrong["MEDIA_PUBLIC_URL"] = "must begin with https://: a page loaded by https may not play films by http"
    if 0 < settings.rate_limit_urls < URLS_AT_ONCE:
        wrong["MEDIA_RATE_LIMIT_URLS"] = f"must be 0 or at least {URLS_AT_ONCE}, which one call may ask for"
    try:
        _cloudfront(settings)
    except OSError:
        # The text of the error would repeat the value, which may be a key.
        wrong["CLOUDFRONT_PRIVATE_KEY"] = "neither a PEM nor the name of a file that can be read"
    except ValueError as error:
        wrong["CLOUDFRONT_PRIVATE_KEY"] = str(error)
    return wrong


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[web.Application]:
    """Open everything that the application needs, and close it after the block."""
    async with AsyncExitStack() as stack:
        yield application(await _service(settings, stack))


def application(service: Service) -> web.Application:
    """Build the application over a service that is already wired."""
    app = web.Application(
        middlewares=[observe, cross_origin(service.settings.cors_origins)], client_max_size=BODY_LIMIT
    )
    app[SERVICE] = service
    app[ACCESS_LOG] = by_structlog
    app[DRAINING] = asyncio.Event()
    add_routes(app)
    docs = Docs()
    app.router.add_get("/openapi.json", docs.machine)
    app.router.add_get("/docs", docs.human)
    app.router.add_get(SCHEMA_PATH, docs.event_schema)
    if service.settings.page:
        page = page_of(service)
        app.router.add_get("/", page.index)
        app.router.add_get("/ops", page.operations)
        app.router.add_get("/dev/token", dev_token)
        app.router.add_get("/static/{path:.+}", page.asset)
    app.on_response_prepare.append(headers_for(service))
    app.on_response_prepare.append(reject_while_draining)

    async def end_streams(_: web.Application) -> None:
        service.hub.end()

    app.on_shutdown.append(end_streams)
    return app


async def _service(settings: Settings, stack: AsyncExitStack) -> Service:
    connect = partial(database.connect, settings.database_url, statement_cache=settings.database_statement_cache)
    store = await stack.enter_async_context(connect(application="media-api"))
    metrics = ApiMetrics(service_registry(commit=settings.commit, environment=settings.environment))
    clients = aws.Clients(settings, stack, lambda service, operation: metrics.aws.labels(service, operation).inc())
    queues = MessageQueues(await clients.sqs(), settings.queue_urls())
    stack.callback(asyncio.create_task(watch_loop(metrics.loop_lag)).cancel)
    hub = EventHub()
    feed = connect(max_size=1, application="media-events")  # never waits for others
    await stack.enter_async_context(hub.running(await stack.enter_async_context(feed)))
    signed = each_secret(settings.callback_secret)
    secrets = signed or each_secret(settings.jwt_secret)
    if not secrets:
        raise SettingsError("MEDIA_CALLBACK_SECRET is missing")
    rates, counts = rate_limits(settings, metrics)
    stack.push_async_callback(counts.close)
    storage, parts = ObjectStorage(s3 := await clients.s3()), MultipartUploads(s3)
    versioning = VersioningCheck(storage, settings.output_bucket)
    await versioning.ask()
    stack.callback(asyncio.create_task(versioning.run()).cancel)
    keys = await _keys(settings, stack)
    authenticator = Authenticator(keys, settings.jwt_issuer, settings.jwt_audience, time.time)
    asks: dict[str, Ask] = {
        "Postgres takes no writes": store.probe,
        "the keys of the identity service cannot be had": authenticator.has_keys,
        "S3 refuses, does not answer, or the bucket is not versioned": _storage_ask(
            storage, parts, settings.output_bucket
        ),
        "SQS does not answer": queues["uploads"].depth,
    }
    return Service(
        settings=settings,
        database=store,
        assets=AssetStore(store),
        stages=StageStore(store),
        part_store=MultipartUploadStore(store),
        operations=Operations(store),
        dead_letters=DeadLetterService(queues, QUEUES),
        outbox=Outbox(store, {EffectKind.SEND: queues.send_rows}),
        storage=storage,
        parts=parts,
        delivery_urls=_delivery_urls(settings, clients),
        playback=PlaybackTokens(*secrets),
        tickets=Tickets(*secrets),
        hub=hub,
        callbacks=Callbacks(signed, time.time) if signed else None,
        authenticator=authenticator,
        rates=rates,
        metrics=metrics,
        readiness=Readiness(asks),
        secret=secrets[0],
    )


def _storage_ask(storage: ObjectStorage, parts: MultipartUploads, bucket: str) -> Ask:
    """Return what asks S3 for each kind of right that uploads need, one call each time."""

    async def versioned() -> bool:
        return await storage.is_versioned(bucket)

    async def find() -> object:
        return await storage.newest(bucket, UPLOADS_TEST)

    async def store() -> None:
        await parts.check(bucket, UPLOADS_TEST)

    return InTurn([versioned, find, store])


def _delivery_urls(settings: Settings, clients: aws.Clients) -> DeliveryUrls:
    endpoint = settings.s3_public_endpoint_url or settings.aws_endpoint_url
    bucket = bucket_address(settings.output_bucket, settings.aws_region, endpoint)
    if not settings.cloudfront_private_key:
        which = "signed URLs" if settings.cloudfront_domain else "URLs"
        log.warning(
            "api.no_cloudfront", text=f"{which} are presigned by S3 and live no longer than our AWS credentials"
        )
    return DeliveryUrls(bucket, settings.aws_region, clients.credentials, _cloudfront(settings))


def _cloudfront(settings: Settings) -> CloudFrontUrls | None:
    """Make the source of CloudFront URLs, or None without a domain. The key is a PEM or the name of a file.

    To rotate the key, let CloudFront's key group trust both keys while ours changes.
    """
    domain, key_id = settings.cloudfront_domain, settings.cloudfront_key_pair_id
    key = settings.cloudfront_private_key
    if not domain:
        return None
    if not (key_id and key):
        return CloudFrontUrls(domain)
    given = key.get_secret_value()
    return CloudFrontUrls(domain, key_id, given if "-----BEGIN" in given else Path(given).read_text())


async def _keys(settings: Settings, stack: AsyncExitStack) -> KeySet:
    if settings.jwt_secret:
        return SecretKey(*each_secret(settings.jwt_secret))
    url = settings.jwt_jwks_url or ""
    session = await stack.enter_async_context(aiohttp.ClientSession(trust_env=proxy_for(url) is not None))
    keys = JwksKeys(url, session, time.monotonic)
    stack.push_async_callback(keys.close)
    return keys
