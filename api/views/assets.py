"""Assets: show, list and delete them, and show their timeline."""

from datetime import timedelta
from uuid import UUID

import structlog
from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from api import listing_cursor
from api.delivery_urls import LONGEST_PRIVATE, may_ask_for
from api.json_io import json_response, json_response_if_changed, read_body, read_query
from api.problems import FieldError, ProblemCode, ProblemError
from api.routing import MERGE_PATCH
from api.schemas.assets import AssetPatch, Listing, ListingQuery, Timeline, TimelineEntryOut
from api.security.auth import Caller
from api.service import Service, caller_of, service_of
from media.asset import Asset
from media.asset_store.assets import Description
from media.asset_store.listing import TOTAL_LIMIT, AssetFilter, PageRequest
from media.aws.s3_multipart import MultipartTarget
from media.contracts import METADATA_BYTES, METADATA_KEYS
from media.errors import RetryableError, UnavailableError
from media.public_asset import AssetOut
from media.stage_endings import EndingRules

log = structlog.get_logger(__name__)

KEPT_LONGER = timedelta(minutes=1)
"""How much longer than its URLs a file is kept: an answer that has read the asset may still be signing one."""

_ASSET_ID = TypeAdapter(UUID)
"""The spellings that bodies and queries take too: some platforms print upper case (RFC 9562, 4) or no hyphens."""


def asset_id_of(request: web.Request) -> UUID:
    """Return the asset id of the path. Raises ProblemError(not_found) for a malformed one, as for an unknown asset."""
    try:
        return _ASSET_ID.validate_python(request.match_info["asset_id"])
    except ValidationError as error:
        raise ProblemError(ProblemCode.NOT_FOUND) from error


async def asset_for(request: web.Request, caller: Caller) -> Asset:
    """Return the asset of the path, if the caller may see it. Raises ProblemError(not_found)."""
    asset = await service_of(request).assets.get(asset_id_of(request), owner_id=caller.owner_scope)
    if asset is None:
        raise ProblemError(ProblemCode.NOT_FOUND)
    return asset


def public_asset(asset: Asset, caller: Caller) -> AssetOut:
    """Return the asset as this caller may see it: its owner's id is for those who see all assets."""
    shown = AssetOut.model_validate(asset)
    return shown if caller.owner_scope is None else shown.model_copy(update={"owner_id": None})


async def show_asset(request: web.Request) -> web.Response:
    """Show one asset, or answer 304 when it has not changed."""
    caller = await caller_of(request)
    return json_response_if_changed(request, public_asset(await asset_for(request, caller), caller))


async def list_assets(request: web.Request) -> web.Response:
    """List the caller's assets (all, for services and admins), newest first."""
    caller = await caller_of(request)
    query = read_query(request, ListingQuery)
    if query.owner_id is not None and caller.owner_scope is not None:
        refusal = "only for the roles service and admin"
        raise ProblemError(ProblemCode.INVALID_REQUEST, f"owner_id: {refusal}", [FieldError("owner_id", refusal)])
    chosen = AssetFilter(
        owner_id=caller.owner_scope or query.owner_id,
        asset_ids=query.asset_id,
        asset_types=sorted(set(query.asset_type or ())),
        statuses=sorted(set(query.status or ())),
        recording_id=query.recording_id,
        webinar_id=query.webinar_id,
        external_id=query.external_id,
        created_after=query.created_after,
        created_before=query.created_before,
    )
    after = listing_cursor.parse(query.cursor, query) if query.cursor else None
    page = PageRequest(after, query.sort == "-created_at", query.limit, query.count)
    found = await service_of(request).assets.list_page(chosen, page)
    listing = Listing(
        items=[public_asset(asset, caller) for asset in found.assets],
        next_cursor=listing_cursor.make(found.assets[-1], query) if found.has_more else None,
        total=None if found.total is None else min(found.total, TOTAL_LIMIT),
        total_is_more=(found.total or 0) > TOTAL_LIMIT,
    )
    return json_response_if_changed(request, listing)


async def show_timeline(request: web.Request) -> web.Response:
    """Show the events of an asset, also after it was deleted."""
    asset = await asset_for(request, await caller_of(request))
    entries = await service_of(request).assets.timeline(asset.asset_id)
    return json_response_if_changed(
        request, Timeline(items=[TimelineEntryOut.model_validate(entry) for entry in entries])
    )


async def change_asset(request: web.Request) -> web.Response:
    """Change what the asset says of itself: its title, external id, metadata, and its delivery. Repeatable."""
    caller = await caller_of(request)
    asset = await asset_for(request, caller)
    patch = await read_body(request, AssetPatch, MERGE_PATCH)
    if "delivery" in patch.model_fields_set and not may_ask_for(caller, asset.asset_type, patch.delivery):
        raise ProblemError(ProblemCode.DELIVERY_NOT_ALLOWED, f"{asset.asset_type} as {patch.delivery}")
    assets = service_of(request).assets
    keep = (LONGEST_PRIVATE + KEPT_LONGER).total_seconds()
    match await assets.describe(asset.asset_id, patch.model_dump(mode="json", exclude_unset=True), keep=keep):
        case Description.GONE:
            raise ProblemError(ProblemCode.DELETED)
        case Description.NOT_READY:
            raise ProblemError(ProblemCode.NOT_READY, "its delivery can change once all work on it has ended")
        case Description.DELIVERY_CHANGING:
            raise ProblemError(ProblemCode.DELIVERY_CHANGING, "see pending_delivery")
        case Description.TOO_LARGE:
            limits = f"with what is there more than {METADATA_KEYS} keys, or {METADATA_BYTES} bytes as JSON"
            raise ProblemError(ProblemCode.INVALID_REQUEST, f"metadata: {limits}", [FieldError("metadata", limits)])
        case Description.CHANGED | Description.SAME:
            return json_response(public_asset(await assets.get(asset.asset_id) or asset, caller))


async def delete_asset(request: web.Request) -> web.Response:
    """Delete the asset. Its files and its job are removed through the outbox. Repeatable."""
    asset = await asset_for(request, await caller_of(request))
    await remove(service_of(request), asset)
    return web.Response(status=204)


async def remove(service: Service, asset: Asset) -> None:
    """Mark the asset as deleted, and remove its files, its job and its unfinished upload."""
    job_id = await service.assets.job_of(asset.asset_id)
    rules = EndingRules(service.settings.output_bucket, service.settings.max_attempts)
    await service.assets.delete(asset.asset_id, rules.delete(asset, job_id))
    upload = None if asset.version_id else await service.part_store.find(asset.asset_id, owner_id=asset.owner_id)
    if upload:
        try:
            await service.parts.abort(MultipartTarget(asset.bucket, asset.key, upload.upload_id))
        except (UnavailableError, RetryableError) as error:
            # The bucket's lifecycle removes parts that stay, a day after the upload began.
            log.warning("api.parts_left", key=asset.key, error=str(error))
