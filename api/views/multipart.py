"""Uploads in parts: begin, resume, complete or abort them. Only the caller that began an upload may use it."""

import structlog
from aiohttp import web

from api.delivery_urls import UPLOAD_LIFETIME
from api.json_io import json_response, json_response_if_changed, read_body
from api.problems import ProblemCode, ProblemError
from api.schemas.multipart import (
    CompleteRequest,
    MultipartOut,
    MultipartRequest,
    PartLink,
    PartLinks,
    PartsRequest,
    StoredPartOut,
)
from api.security.auth import Caller
from api.service import Service, caller_of, service_of
from api.views.assets import asset_id_of, public_asset, remove
from api.views.uploads import bind, create_asset, new_asset
from media.asset import Status
from media.asset_store.assets import MultipartUpload
from media.aws.s3_multipart import (
    EndedUploadError,
    ExistingObjectError,
    MissingPartsError,
    MultipartTarget,
    UploadPart,
    part_size,
    size_of_part,
)

log = structlog.get_logger(__name__)

COMPLETE_LIMIT = 1024 * 1024
"""Bytes of the body of a completion: 10,000 parts of some 70 characters each."""
_WAITING = frozenset({Status.PENDING, Status.EXPIRED})


async def start_parts(request: web.Request) -> web.Response:
    """Register an asset and begin its upload in parts. With an Idempotency-Key, the same upload each time."""
    caller = await caller_of(request)
    service = service_of(request)
    payload = await read_body(request, MultipartRequest)
    asset = await create_asset(service, new_asset(request, caller, service, payload, scope="multipart"))
    # The upload that exists, else a new one. Of two at once, the first stays.
    upload = await service.part_store.find(asset.asset_id, owner_id=asset.owner_id)
    if upload is None:
        chosen = payload.part_size or part_size(payload.size)
        target = await service.parts.begin(asset.bucket, asset.key, asset.content_type)
        if not await service.part_store.remember(asset.asset_id, target.upload_id, chosen):
            await service.parts.abort(target)
        upload = await service.part_store.find(asset.asset_id, owner_id=asset.owner_id)
    headers = {"Location": f"/api/v1/media/upload/multipart/{asset.asset_id}"}
    return json_response(await _state(service, _require_waiting(upload)), status=201, headers=headers)


def _require_waiting(upload: MultipartUpload | None) -> MultipartUpload:
    """Return the upload if its asset still waits for parts. Raises ProblemError(upload_ended)."""
    if upload is None or upload.asset.status not in _WAITING:
        raise ProblemError(ProblemCode.UPLOAD_ENDED)
    return upload


async def list_parts(request: web.Request) -> web.Response:
    """Show an upload with the parts that are stored, to resume it after a break."""
    service = service_of(request)
    return json_response_if_changed(
        request, await _state(service, _require_waiting(await _find_upload(request, await caller_of(request))))
    )


async def sign_parts(request: web.Request) -> web.Response:
    """Make URLs to PUT some parts to. A part may be sent again: the last one stored counts."""
    service = service_of(request)
    upload = await _find_upload(request, await caller_of(request))
    numbers = (await read_body(request, PartsRequest)).part_numbers
    _require_waiting(upload)
    sizes = {number: size_of_part(number, _size(upload), upload.part_size) for number in numbers}
    if not all(sizes.values()):
        raise ProblemError(ProblemCode.INVALID_REQUEST, f"the file has {_count(upload)} parts")
    sign = await service.delivery_urls.parts(upload.asset.key, upload.upload_id)
    items = [PartLink(part_number=number, url=sign(number, size), size=size) for number, size in sizes.items()]
    return json_response(PartLinks(items=items, expires_in=int(UPLOAD_LIFETIME.total_seconds())))


async def complete_parts(request: web.Request) -> web.Response:
    """Complete the upload and bind the asset to the file, like a confirmation. Repeatable."""
    service, caller = service_of(request), await caller_of(request)
    upload = await _find_upload(request, caller)
    payload = await read_body(request.clone(client_max_size=COMPLETE_LIMIT), CompleteRequest)
    if upload.asset.status is Status.DELETED:
        raise ProblemError(ProblemCode.DELETED)
    if upload.asset.status in _WAITING:
        # Every part once and in order: each was signed with its size, so the file has the announced size.
        if [part.part_number for part in payload.parts] != list(range(1, _count(upload) + 1)):
            raise ProblemError(ProblemCode.PARTS_MISSING, f"parts 1 to {_count(upload)} must be named, in order")
        parts = [UploadPart(part.part_number, part.etag.strip('"')) for part in payload.parts]
        try:
            await service.parts.complete(_target(upload), parts)
        except MissingPartsError as error:
            raise ProblemError(ProblemCode.PARTS_MISSING) from error
        except (EndedUploadError, ExistingObjectError) as error:
            # Completed before, by a call whose response was lost: the stored object decides.
            log.info("api.upload_ended", asset_id=str(upload.asset.asset_id), error=type(error).__name__)
    asset = await bind(service, upload.asset, ProblemCode.UPLOAD_ENDED)
    return json_response(public_asset(asset, caller))


async def abort_parts(request: web.Request) -> web.Response:
    """Abort the upload and remove its parts. The asset is deleted."""
    service = service_of(request)
    upload = await _find_upload(request, await caller_of(request))
    if upload.asset.status not in _WAITING | {Status.DELETED}:
        raise ProblemError(ProblemCode.UPLOAD_ENDED)
    await remove(service, upload.asset)
    return web.Response(status=204)


async def _find_upload(request: web.Request, caller: Caller) -> MultipartUpload:
    """Find the upload of the path's asset, if the caller began it. Raises ProblemError(not_found)."""
    upload = await service_of(request).part_store.find(asset_id_of(request), owner_id=caller.subject)
    if upload is None:
        raise ProblemError(ProblemCode.NOT_FOUND)
    return upload


async def _state(service: Service, upload: MultipartUpload) -> MultipartOut:
    try:
        stored = await service.parts.parts(_target(upload))
    except EndedUploadError as error:
        raise ProblemError(ProblemCode.UPLOAD_ENDED) from error
    return MultipartOut(
        asset_id=upload.asset.asset_id,
        s3_key=upload.asset.key,
        size=_size(upload),
        part_size=upload.part_size,
        part_count=_count(upload),
        parts=[StoredPartOut(part_number=part.number, etag=part.etag, size=part.size) for part in stored],
    )


def _target(upload: MultipartUpload) -> MultipartTarget:
    return MultipartTarget(upload.asset.bucket, upload.asset.key, upload.upload_id)


def _size(upload: MultipartUpload) -> int:
    return upload.asset.declared_size or 0


def _count(upload: MultipartUpload) -> int:
    return -(-_size(upload) // upload.part_size)
