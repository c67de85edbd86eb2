"""Ready videos with playlists in the bucket, and the URLs that the API makes for them."""

from typing import Any

from media.asset import Rendition
from tests.integration.api.conftest import MEDIA, RunningApi

MASTER = """#EXTM3U
#EXT-X-VERSION:7
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="Sound",URI="sound/a.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=800000,CODECS="avc1.64001e,mp4a.40.2",RESOLUTION=640x360
clip_360.m3u8
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=90000,URI="clip_360_iframe.m3u8"
"""
RUNG = """#EXTM3U
#EXT-X-TARGETDURATION:6
#EXT-X-MAP:URI="init.mp4",BYTERANGE="700@0"
#EXTINF:6.0,
clip_00001.ts
#EXT-X-ENDLIST
"""


async def store(
    api: RunningApi,
    slot: Any,
    name: str,
    body: bytes,
    content_type: str,
    rendition: str,
    *,
    top: str = "processed",
    folder: str = "x-1",
) -> Rendition:
    kind = slot["s3_key"].split("/")[1]
    key = f"{top}/{kind}/doctor-1/{slot['asset_id']}/{folder}/{name}"
    await api.service.storage.write(api.service.settings.output_bucket, key, body, content_type)
    return Rendition(rendition, key, content_type, len(body), width=len(body))


async def film(api: RunningApi, master: str = MASTER) -> str:
    """Create a ready video. Return its id."""
    slot = await api.announce(asset_type="video", content_type="video/mp4", original_filename="clip.mp4")
    for name, body in {"clip_360.m3u8": RUNG, "clip_00001.ts": "segment", "init.mp4": "init", "other.txt": "x"}.items():
        await store(api, slot, name, body.encode(), "text/plain", "")
    hls = await store(api, slot, "clip.m3u8", master.encode(), "application/vnd.apple.mpegurl", "hls")
    mp4 = await store(api, slot, "clip.mp4", b"mp4", "video/mp4", "mp4")
    await api.ready(slot["asset_id"], hls, mp4)
    return str(slot["asset_id"])


async def url_of(api: RunningApi, asset_id: str, query: str = "", **options: Any) -> Any:
    status, link = await api.call("GET", f"{MEDIA}/assets/{asset_id}/url{query}", **options)
    assert status == 200, link
    return link
