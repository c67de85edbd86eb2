"""URLs of renditions, and the HLS playlists that the API serves itself."""

import asyncio
import gzip
from datetime import UTC, datetime
from posixpath import dirname

import structlog
from aiohttp import web

from api.delivery_urls import DeliveryUrl, default_rendition
from api.hls_playback import FOREVER, PLAYLIST_LIMIT, UnusablePlaylistError, playlist_key, rewrite
from api.json_io import json_response_if_changed, read_query, takes_gzip
from api.problems import ProblemCode, ProblemError
from api.schemas.assets import UrlOut, UrlQuery
from api.server.public_origin import public_origin
from api.service import Service, caller_of, service_of
from api.views.assets import asset_for, asset_id_of
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
    asset = await asset_for(request, await caller_of(request))
    require_ready(asset)
    service, now = service_of(request), datetime.now(UTC)
    name = read_query(request, UrlQuery).rendition
    if name == "original" and asset.asset_type is not AssetType.DOCUMENT and not asset.recording_id:
        # A document's is the rendition that the scan left. A recording lies in a bucket of the webinar service.
        if not await service.assets.was_scanned_whole(asset.asset_id):
            raise ProblemError(ProblemCode.NOT_SCANNED_WHOLE)
        original = await service.delivery_urls.original(asset, now)
        return json_response_if_changed(
            request, UrlOut(url=original.url, rendition=name, expires_at=original.expires_at)
        )
    rendition = _find_rendition(asset, name)
    if rendition.name == "hls" and not service.delivery_urls.serves_unsigned(asset, rendition):
        is_public = asset.delivery is DeliveryClass.PUBLIC
        end = FOREVER if is_public else await service.delivery_urls.playback_end(asset, now)
        origin = public_origin(request, service.settings)
        path = f"/api/v1/media/assets/{asset.asset_id}/hls/master.m3u8"
        url = f"{origin}{path}?token={service.playback.make(asset.asset_id, end)}"
        delivery_url = DeliveryUrl(url, None if is_public else end)
    else:
        delivery_url = await service.delivery_urls.rendition(asset, rendition, now)
    return json_response_if_changed(
        request, UrlOut(url=delivery_url.url, rendition=rendition.name, expires_at=delivery_url.expires_at)
    )


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
    except (UnusablePlaylistError, MissingObjectError) as error:
        raise ProblemError(ProblemCode.NOT_FOUND) from error
    sign = await service.delivery_urls.entries(asset, f"{dirname(master)}/", datetime.now(UTC), end)
    try:
        return await rewrite(body.decode(), dirname(key), request.query["token"], sign)
    except (UnusablePlaylistError, UnicodeDecodeError) as error:
        log.error("api.playlist_unusable", asset_id=str(asset.asset_id), key=key, error=str(error))  # noqa: TRY400 - no trace needed
        raise ProblemError(ProblemCode.PLAYLIST_UNUSABLE) from error
