"""Uploads in parts: begun, resumed, completed, aborted. An upload is its beginner's alone, whatever the role."""

import structlog
from aiohttp import web

from api.delivery_urls import UPLOAD_LIFETIME
from api.json_io import json_response, json_response_if_changed, read_body
from api.problems import ProblemCode, ProblemError
from api.schemas.assets import AssetOut
from api.schemas.multipart import (
    CompleteRequest,
    MultipartOut,
    MultipartRequest,
    PartLink,
    PartLinks,
    PartsRequest,
    StoredPartOut,
)
from api.service import Service, caller_of, service_of
from api.views.assets import asset_id_of, remove
from api.views.uploads import bound, created, new_asset
from media.asset import Status
from media.asset_store.part_uploads import MultipartUpload
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
"""Bytes of a completion's body: 10,000 parts of some 70 characters each."""
_WAITING = frozenset({Status.PENDING, Status.EXPIRED})


async def start_parts(request: web.Request) -> web.Response:
    """Register an asset and begin its upload in parts. With an Idempotency-Key, the same upload each time."""
    caller = await caller_of(request)
    service = service_of(request)
    asked = await read_body(request, MultipartRequest)
    asset = await created(service, new_asset(request, caller, service, asked, scope="multipart"))
    # The upload that there is, else a new one. Of two at once, the first stays.
    begun = await service.part_store.find(asset.asset_id, owner_id=asset.owner_id)
    if begun is None:
        upload = await service.parts.begin(asset.bucket, asset.key, asset.content_type)
        if not await service.part_store.remember(asset.asset_id, upload.upload_id, part_size(asked.size)):
            await service.parts.abort(upload)
        begun = await service.part_store.find(asset.asset_id, owner_id=asset.owner_id)
    headers = {"Location": f"/api/v1/media/upload/multipart/{asset.asset_id}"}
    return json_response(await _state(service, _waiting(begun)), status=201, headers=headers)


def _waiting(found: MultipartUpload | None) -> MultipartUpload:
    """Raises ProblemError(upload_ended) unless the asset still waits for its parts."""
    if found is None or found.asset.status not in _WAITING:
        raise ProblemError(ProblemCode.UPLOAD_ENDED)
    return found


async def list_parts(request: web.Request) -> web.Response:
    """An upload in parts, with the parts that are there: what to resume from after a break."""
    service = service_of(request)
    return json_response_if_changed(request, await _state(service, _waiting(await _mine(request, service))))


async def sign_parts(request: web.Request) -> web.Response:
    """URLs to PUT some parts to. A part may be sent again; the last one stored counts."""
    service = service_of(request)
    begun = await _mine(request, service)
    numbers = (await read_body(request, PartsRequest)).part_numbers
    _waiting(begun)
    sizes = {number: size_of_part(number, _size(begun), begun.part_size) for number in numbers}
    if not all(sizes.values()):
        raise ProblemError(ProblemCode.INVALID_REQUEST, f"the file has {_count(begun)} parts")
    sign = await service.links.parts(begun.asset.key, begun.upload_id)
    items = [PartLink(part_number=number, url=sign(number, size), size=size) for number, size in sizes.items()]
    return json_response(PartLinks(items=items, expires_in=int(UPLOAD_LIFETIME.total_seconds())))


async def complete_parts(request: web.Request) -> web.Response:
    """Put the parts together and bind the asset to the file, like a confirmation. Repeatable."""
    service = service_of(request)
    begun = await _mine(request, service)
    asked = await read_body(request.clone(client_max_size=COMPLETE_LIMIT), CompleteRequest)
    if begun.asset.status is Status.DELETED:
        raise ProblemError(ProblemCode.DELETED)
    if begun.asset.status in _WAITING:
        # Every part once and in order: each was signed with its own size, so the file then has the size announced.
        if [part.part_number for part in asked.parts] != list(range(1, _count(begun) + 1)):
            raise ProblemError(ProblemCode.PARTS_MISSING, f"parts 1 to {_count(begun)} are wanted, in order")
        parts = [UploadPart(part.part_number, part.etag.strip('"')) for part in asked.parts]
        try:
            await service.parts.complete(_upload(begun), parts)
        except MissingPartsError as error:
            raise ProblemError(ProblemCode.PARTS_MISSING) from error
        except (EndedUploadError, ExistingObjectError) as error:
            # Completed before, by a call whose answer was lost: what is there now decides.
            log.info("api.upload_ended", asset_id=str(begun.asset.asset_id), error=type(error).__name__)
    asset = await bound(service, begun.asset, ProblemCode.UPLOAD_ENDED)
    return json_response(AssetOut.model_validate(asset))


async def abort_parts(request: web.Request) -> web.Response:
    """Forget the upload and its parts; the asset counts as deleted."""
    service = service_of(request)
    begun = await _mine(request, service)
    if begun.asset.status not in _WAITING | {Status.DELETED}:
        raise ProblemError(ProblemCode.UPLOAD_ENDED)
    await remove(service, begun.asset)
    return web.Response(status=204)


async def _mine(request: web.Request, service: Service) -> MultipartUpload:
    """The upload of the path's asset, if the caller began it. Raises ProblemError(not_found)."""
    caller = await caller_of(request)
    begun = await service.part_store.find(asset_id_of(request), owner_id=caller.subject)
    if begun is None:
        raise ProblemError(ProblemCode.NOT_FOUND)
    return begun


async def _state(service: Service, begun: MultipartUpload) -> MultipartOut:
    try:
        stored = await service.parts.parts(_upload(begun))
    except EndedUploadError as error:
        raise ProblemError(ProblemCode.UPLOAD_ENDED) from error
    return MultipartOut(
        asset_id=begun.asset.asset_id,
        s3_key=begun.asset.key,
        size=_size(begun),
        part_size=begun.part_size,
        part_count=_count(begun),
        parts=[StoredPartOut(part_number=part.number, etag=part.etag, size=part.size) for part in stored],
    )


def _upload(begun: MultipartUpload) -> MultipartTarget:
    return MultipartTarget(begun.asset.bucket, begun.asset.key, begun.upload_id)


def _size(begun: MultipartUpload) -> int:
    return begun.asset.declared_size or 0


def _count(begun: MultipartUpload) -> int:
    return -(-_size(begun) // begun.part_size)
