"""Uploads: a URL to PUT to, and the confirmation that the file was sent."""

import hmac
import json
import re
from dataclasses import replace
from uuid import UUID, uuid4

import structlog
from aiohttp import web

from api.delivery_urls import UPLOAD_LIFETIME, may_ask_for
from api.json_io import json_response, json_response_if_changed, read_body
from api.problems import ProblemCode, ProblemError
from api.schemas.assets import (
    Announcement,
    ConfirmRequest,
    UploadLimitOut,
    UploadLimits,
    UploadRequest,
    UploadSlot,
)
from api.security.auth import Caller
from api.server.middlewares import trace_of
from api.service import Service, caller_of, service_of
from api.views.assets import public_asset
from api.views.content_types import CONTENT_TYPES, announced_types, known_content_type
from media.asset import DEFAULT_DELIVERY, Asset, AssetType, Stage, Status, upload_key
from media.asset_store.assets import Binding, NewAsset
from media.errors import RetryableError, UnavailableError
from media.settings import GIB
from media.stage_requests import request as request_stage

log = structlog.get_logger(__name__)

SINGLE_LIMIT = 5 * GIB
"""Bytes of one PUT, S3's own limit."""
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,200}")


async def show_limits(request: web.Request) -> web.Response:
    """Show what may be uploaded. It is the same for everybody, so it needs no token."""
    settings = service_of(request).settings
    items = [
        UploadLimitOut(
            asset_type=asset_type,
            # An announcement beyond what the scan takes is refused.
            max_bytes=limit if settings.takes_unscanned(asset_type) else min(limit, settings.scan_max_bytes),
            content_types=announced_types(asset_type),
        )
        for asset_type in AssetType
        for limit in (settings.max_bytes()[asset_type],)
    ]
    return json_response_if_changed(request, UploadLimits(items=items))


async def start_upload(request: web.Request) -> web.Response:
    """Register an asset and return the URL to PUT it to. With an Idempotency-Key, the same asset each time."""
    caller = await caller_of(request)
    service = service_of(request)
    payload = await read_body(request, UploadRequest)
    new = new_asset(request, caller, service, payload)
    if payload.size is not None and payload.size > SINGLE_LIMIT:
        raise ProblemError(ProblemCode.TOO_LARGE, "one PUT takes 5 GiB at most: use /upload/multipart")
    asset = await create_asset(service, new)
    if asset.status is Status.DELETED:
        raise ProblemError(ProblemCode.DELETED, "the asset that this Idempotency-Key made was deleted")
    # As it was announced, and not by its usual name: a client sends the type that it knows.
    link = await service.delivery_urls.upload(asset.key, payload.content_type, asset.declared_size, payload.sha256)
    slot = UploadSlot(
        asset_id=asset.asset_id,
        upload_url=link.url,
        s3_key=asset.key,
        expires_in=int(UPLOAD_LIFETIME.total_seconds()),
        headers=link.headers,
    )
    return json_response(slot, status=201, headers={"Location": f"/api/v1/media/assets/{asset.asset_id}"})


async def create_asset(service: Service, new: NewAsset) -> Asset:
    """Register the asset, or return the one of an earlier request with the same Idempotency-Key.

    Raises ProblemError(idempotency_key_reused) when that request was a different one.
    """
    if asset := await service.assets.create(new):
        return asset
    before = await service.assets.get(new.asset_id, owner_id=new.owner_id)
    if before is None:
        raise ProblemError(ProblemCode.IDEMPOTENCY_KEY_REUSED)
    # Never with what the asset is now: a PATCH and the scan change it. Rows of release 6 have no digest.
    is_same = before.announced == new.announced if before.announced else _announced(before) == _announced(new)
    if not is_same:
        raise ProblemError(ProblemCode.IDEMPOTENCY_KEY_REUSED)
    return before


def new_asset(
    request: web.Request, caller: Caller, service: Service, payload: Announcement, *, scope: str = ""
) -> NewAsset:
    """Check what a caller announces. An Idempotency-Key is unique within `scope`. Raises ProblemError."""
    owner_id = caller.owner_id()
    asset_id = _choose_asset_id(request, service, f"{owner_id}\n{scope}" if scope else owner_id)
    content_type = known_content_type(payload.asset_type, payload.content_type, payload.original_filename)
    if content_type not in CONTENT_TYPES[payload.asset_type]:
        allowed = ", ".join(sorted(CONTENT_TYPES[payload.asset_type]))
        raise ProblemError(ProblemCode.CONTENT_TYPE_NOT_ALLOWED, f"{payload.asset_type} takes {allowed}")
    _check_size(service, payload.asset_type, payload.size or 0)
    settings = service.settings
    limit = settings.scan_max_bytes
    if (payload.size or 0) > limit and not settings.takes_unscanned(payload.asset_type):
        # Refuse now what the scan would reject after hours of upload.
        advice = f"at most {limit} bytes can be scanned: send a smaller or more compressed version, or several parts"
        raise ProblemError(ProblemCode.TOO_LARGE_TO_SCAN, advice)
    delivery = payload.delivery or DEFAULT_DELIVERY[payload.asset_type]
    if not may_ask_for(caller, payload.asset_type, delivery):
        raise ProblemError(ProblemCode.DELIVERY_NOT_ALLOWED, f"{payload.asset_type} as {delivery}")
    new = NewAsset(
        asset_id=asset_id,
        owner_id=owner_id,
        asset_type=payload.asset_type,
        delivery=delivery,
        content_type=content_type,
        original_filename=payload.original_filename,
        bucket=settings.output_bucket,
        key=upload_key(payload.asset_type, owner_id, asset_id, payload.original_filename),
        declared_size=payload.size,
        title=payload.title,
        trace_id=trace_of(request),
        external_id=payload.external_id,
        metadata=payload.metadata or {},
    )
    if "Idempotency-Key" not in request.headers:
        return new
    # Keyed, so that nobody can guess an erased title by it.
    text = json.dumps([*_announced(new), new.title, new.external_id, new.metadata], sort_keys=True)
    digest = hmac.digest(service.secret.encode(), f"announced 1\n{text}".encode(), "sha256")
    return replace(new, announced=digest.hex())


def _choose_asset_id(request: web.Request, service: Service, scope: str) -> UUID:
    """Choose an unguessable id. With an Idempotency-Key it is derived from scope and key, so no key is stored."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return uuid4()
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise ProblemError(ProblemCode.INVALID_REQUEST, "Idempotency-Key must be 1 to 200 visible ASCII characters")
    secret = service.secret.encode()
    return UUID(bytes=hmac.digest(secret, f"idempotency 1\n{scope}\n{key}".encode(), "sha256")[:16], version=4)


def _check_size(service: Service, asset_type: AssetType, size: int) -> None:
    limit = service.settings.max_bytes()[asset_type]
    if size > limit:
        raise ProblemError(ProblemCode.TOO_LARGE, f"{asset_type} may have at most {limit} bytes")


def _announced(asset: Asset | NewAsset) -> tuple[object, ...]:
    return (asset.asset_type, asset.delivery, asset.content_type, asset.original_filename, asset.declared_size)


async def confirm_upload(request: web.Request) -> web.Response:
    """Bind the asset to the object that is stored now and request its scan. Repeatable, before and after S3's event."""
    caller = await caller_of(request)
    service = service_of(request)
    payload = await read_body(request, ConfirmRequest)
    asset = await service.assets.get(payload.asset_id, owner_id=caller.owner_scope)
    if asset is None:
        raise ProblemError(ProblemCode.NOT_FOUND)
    if asset.status is Status.DELETED:
        raise ProblemError(ProblemCode.DELETED)
    asset = await bind(service, asset, ProblemCode.NOT_UPLOADED)
    return json_response(public_asset(asset, caller))


async def bind(service: Service, asset: Asset, missing: ProblemCode) -> Asset:
    """Bind the asset to the stored object, unless it is bound already. Raises ProblemError(`missing`, …)."""
    if asset.version_id is not None:
        return asset
    stored = await service.storage.newest(asset.bucket, asset.key)  # the API may not read unscanned files
    if stored is None:
        raise ProblemError(missing)
    size = stored.size or 0
    if asset.declared_size is not None and size != asset.declared_size:
        raise ProblemError(ProblemCode.SIZE_MISMATCH, f"{size} bytes are there, {asset.declared_size} were announced")
    _check_size(service, asset.asset_type, size)
    effects = [request_stage(Stage.SCAN, asset, version=stored.version)]
    binding, rows = await service.assets.bind(asset.asset_id, stored, effects=effects, note="confirmed")
    if binding is Binding.GONE:
        raise ProblemError(ProblemCode.DELETED)
    if binding is Binding.BOUND:
        service.metrics.uploads.count(asset.asset_type, size)
    try:
        await service.outbox.dispatch(rows)
    except (UnavailableError, RetryableError) as error:
        # The message stays in the outbox and is sent from there later, so the upload is confirmed all the same.
        log.warning("api.outbox_left", asset_id=str(asset.asset_id), error=str(error))
    return await service.assets.get(asset.asset_id) or asset
