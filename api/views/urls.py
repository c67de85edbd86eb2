"""URLs of renditions, and the HLS playlists that the API serves itself."""

import asyncio
import gzip
from collections.abc import Sequence
from datetime import UTC, datetime
from posixpath import dirname

import structlog
from aiohttp import web

from api.delivery_urls import DeliveryUrl, default_rendition
from api.hls_playback import FOREVER, PLAYLIST_LIMIT, UnusablePlaylistError, playlist_key, rewrite
from api.json_io import json_response, json_response_if_changed, read_body, read_query, takes_gzip
from api.problems import KINDS, ProblemCode, ProblemError
from api.schemas.assets import UrlMade, UrlOut, UrlProblem, UrlQuery, UrlRefused, UrlsOut, UrlsRequest
from api.server.public_origin import public_origin
from api.service import Service, admitted, caller_of, service_of
from api.views.assets import asset_id_of
from media.asset import Asset, AssetType, DeliveryClass, ObjectVersion, Rendition, Status
from media.aws.s3 import MissingObjectError

log = structlog.get_logger(__name__)

GZIP_FROM = 1024
"""Bytes of a playlist from which on it is compressed, in a thread."""
_NO_URL = {
    Status.DELETED: ProblemCode.DELETED,
    Status.REJECTED: ProblemCode.REJECTED,
    Status.FAILED: ProblemCode.FAILED,
}


async def show_url(request: web.Request) -> web.Response:
    """Show the URL of a rendition, by the asset's delivery class. Only ready assets have URLs."""
    caller, asset_id = await caller_of(request), asset_id_of(request)
    name, assets = read_query(request, UrlQuery).rendition, service_of(request).assets
    if name == "original":
        found = await assets.get_many([asset_id], owner_id=caller.owner_scope, originals=[asset_id])
        asset, rendition = choose_rendition(found.get(asset_id), name)
    else:
        # Cheaper than `get_many`, whose plan for some of few assets reads them all.
        one = await assets.get(asset_id, owner_id=caller.owner_scope)
        asset, rendition = choose_rendition((one, False) if one else None, name)
    [made] = await make_urls(request, [(asset, rendition)])
    return json_response_if_changed(request, UrlOut(url=made.url, rendition=rendition.name, expires_at=made.expires_at))


async def show_urls(request: web.Request) -> web.Response:
    """Show the URLs of up to 100 renditions, in the order asked. Each that has none says why, by itself."""
    caller = await caller_of(request)
    asked = (await read_body(request, UrlsRequest)).items
    if len(asked) > 1:
        await admitted(request, caller, len(asked) - 1)  # the first was counted with the request
    found = await service_of(request).assets.get_many(
        {one.asset_id for one in asked},
        owner_id=caller.owner_scope,
        originals={one.asset_id for one in asked if one.rendition == "original"},
    )
    chosen: list[tuple[Asset, Rendition] | ProblemError] = []
    for one in asked:
        try:
            chosen.append(choose_rendition(found.get(one.asset_id), one.rendition))
        except ProblemError as problem:
            chosen.append(problem)
    urls = iter(await make_urls(request, [one for one in chosen if not isinstance(one, ProblemError)]))
    items: list[UrlMade | UrlRefused] = []
    for one, choice in zip(asked, chosen, strict=True):
        if isinstance(choice, ProblemError):
            title, status, detail = KINDS[choice.code].title, choice.status, choice.detail
            refusal = UrlProblem(code=choice.code, title=title, status=status, detail=detail)
            items.append(UrlRefused(asset_id=one.asset_id, rendition=one.rendition, problem=refusal))
        else:
            made, name = next(urls), choice[1].name
            items.append(UrlMade(asset_id=one.asset_id, rendition=name, url=made.url, expires_at=made.expires_at))
    return json_response(UrlsOut(items=items))


def choose_rendition(found: tuple[Asset, bool] | None, name: str | None) -> tuple[Asset, Rendition]:
    """Return the rendition of that name, of an asset and whether it was scanned whole.

    Raises ProblemError with what a request for it is answered.
    """
    if found is None:
        raise ProblemError(ProblemCode.NOT_FOUND)
    asset, was_scanned_whole = found
    require_ready(asset)
    if name != "original" or asset.asset_type is AssetType.DOCUMENT or asset.recording_id:
        # A document's is the rendition that the scan left. A recording lies in a bucket of the webinar service.
        return asset, _find_rendition(asset, name)
    if not was_scanned_whole:
        raise ProblemError(ProblemCode.NOT_SCANNED_WHOLE)
    return asset, Rendition("original", asset.key, asset.content_type, asset.size or 0)


async def make_urls(request: web.Request, chosen: Sequence[tuple[Asset, Rendition]]) -> list[DeliveryUrl]:
    """Make the URLs of renditions, in their order: of HLS a playlist that the API serves, of the others the file's."""
    service, now = service_of(request), datetime.now(UTC)
    made: dict[int, DeliveryUrl] = {}
    for number, (asset, rendition) in enumerate(chosen):
        if rendition.name == "hls" and not service.delivery_urls.serves_unsigned(asset, rendition):
            is_public = asset.delivery is DeliveryClass.PUBLIC
            end = FOREVER if is_public else await service.delivery_urls.playback_end(asset, now)
            path = f"/api/v1/media/assets/{asset.asset_id}/hls/master.m3u8"
            url = f"{public_origin(request, service.settings)}{path}?token={service.playback.make(asset.asset_id, end)}"
            made[number] = DeliveryUrl(url, None if is_public else end)
    files = [number for number in range(len(chosen)) if number not in made]
    urls = await service.delivery_urls.renditions([chosen[number] for number in files], now)
    made |= dict(zip(files, urls, strict=True))
    return [made[number] for number in range(len(chosen))]


async def show_playlist(request: web.Request) -> web.Response:
    """Serve a playlist whose entries are signed. The token in its URL replaces the Authorization header."""
    service = service_of(request)
    end = service.playback.check(request.query.get("token", ""), asset_id_of(request))
    if end is None:
        raise ProblemError(ProblemCode.UNAUTHENTICATED, "the playlist's token is not valid")
    if end <= datetime.now(UTC):
        raise ProblemError(ProblemCode.TOKEN_EXPIRED, "ask for the URL again")
    asset = await service.assets.get(asset_id_of(request))
    if asset is None:
        raise ProblemError(ProblemCode.NOT_FOUND)
    require_ready(asset)
    if end == FOREVER:
        if asset.delivery is not DeliveryClass.PUBLIC:
            raise ProblemError(ProblemCode.TOKEN_EXPIRED, "the asset is no longer public: ask for the URL again")
        end = await service.delivery_urls.playback_end(asset, datetime.now(UTC))
    body = (await _read_playlist(request, service, asset, end)).encode()
    headers = {"Cache-Control": "private, no-store", "Vary": "Accept-Encoding"}
    if len(body) >= GZIP_FROM and takes_gzip(request):
        body = await asyncio.to_thread(gzip.compress, body, 5)
        headers["Content-Encoding"] = "gzip"
    return web.Response(body=body, content_type="application/vnd.apple.mpegurl", headers=headers)


def require_ready(asset: Asset) -> None:
    if asset.status is not Status.READY:
        raise ProblemError(_NO_URL.get(asset.status, ProblemCode.NOT_READY), asset.code or asset.status)


def _find_rendition(asset: Asset, name: str | None) -> Rendition:
    if name is None:
        found = default_rendition(asset)
    else:
        found = next((rendition for rendition in asset.renditions if rendition.name == name), None)
    if found is None:
        raise ProblemError(ProblemCode.RENDITION_NOT_FOUND)
    return found


async def _read_playlist(request: web.Request, service: Service, asset: Asset, end: datetime) -> str:
    master = _find_rendition(asset, "hls").key
    try:
        key = playlist_key(master, request.match_info["path"])
        body = await service.storage.read(ObjectVersion(service.settings.output_bucket, key), limit=PLAYLIST_LIMIT)
    except UnusablePlaylistError as error:
        raise ProblemError(ProblemCode.NOT_FOUND) from error
    except MissingObjectError as error:
        now = await service.assets.get(asset.asset_id)
        if now is None or _find_rendition(now, "hls").key == master:
            raise ProblemError(ProblemCode.NOT_FOUND) from error
        # Its delivery changed while this was answered, and the playlist is where the new one has it.
        return await _read_playlist(request, service, now, end)
    sign = await service.delivery_urls.entries(asset, f"{dirname(master)}/", datetime.now(UTC), end)
    try:
        return await rewrite(body.decode(), dirname(key), request.query["token"], sign)
    except (UnusablePlaylistError, UnicodeDecodeError) as error:
        log.error("api.playlist_unusable", asset_id=str(asset.asset_id), key=key, error=str(error))  # noqa: TRY400 - no trace needed
        raise ProblemError(ProblemCode.PLAYLIST_UNUSABLE) from error
