"""An HLS presentation is saved in one folder, every file once, whatever its URLs contain."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from deploy.local import hls
from deploy.local.hls import PlaylistError

MASTER = """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",URI="sound/index.m3u8?token=t"
#EXT-X-STREAM-INF:BANDWIDTH=1000
picture/index.m3u8?token=t
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=100,URI="picture/iframes.m3u8?token=t"
"""
FILES = {
    "/a/index.m3u8": MASTER,
    "/a/picture/index.m3u8": '#EXTM3U\n#EXT-X-MAP:URI="/seg/init.mp4?sig=1"\n#EXTINF:6,\n/seg/one.ts?sig=1\n',
    "/a/picture/iframes.m3u8": "#EXTM3U\n#EXT-X-BYTERANGE:5@0\n/seg/one.ts?sig=2\n",
    "/a/sound/index.m3u8": "#EXTM3U\n#EXTINF:6,\n/seg/sound/one.ts?sig=3\n",
    "/seg/init.mp4": "init",
    "/seg/one.ts": "picture",
    "/seg/sound/one.ts": "sound",
    "/not/a/playlist.m3u8": "<html>",
    "/up.m3u8": "#EXTM3U\n/seg/..%2F..%2Foutside\n",
    "/seg/../../outside": "kept inside",
}


@dataclass(frozen=True, slots=True)
class FileServer:
    """A server of FILES. `requested` holds the fetched paths."""

    base: str
    requested: list[str]


@pytest.fixture
async def file_server() -> AsyncIterator[FileServer]:
    requested: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        requested.append(request.path)
        return web.Response(text=FILES[request.path])

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server:
        yield FileServer(str(server.make_url("")).rstrip("/"), requested)


async def test_playlists_name_local_files_and_each_is_fetched_once(file_server: FileServer, tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as http:
        master = await hls.save(http, f"{file_server.base}/a/index.m3u8?token=t", tmp_path / "hls")
    saved = {path.name: path.read_text() for path in (tmp_path / "hls").iterdir()}
    assert "?" not in "".join(saved.values())
    assert sorted(text for text in saved.values() if not text.startswith("#EXTM3U")) == ["init", "picture", "sound"]
    for line in master.read_text().splitlines():
        if line and not line.startswith("#"):
            assert line in saved
    assert len(file_server.requested) == len(set(file_server.requested)) == 7


async def test_what_is_not_a_playlist_is_refused(file_server: FileServer, tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(PlaylistError, match="not a playlist"):
            await hls.save(http, f"{file_server.base}/not/a/playlist.m3u8", tmp_path / "hls")


async def test_a_hostile_name_stays_in_the_folder(file_server: FileServer, tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as http:
        await hls.save(http, f"{file_server.base}/up.m3u8", tmp_path / "deep" / "hls")
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path / "deep" / "outside").exists()
    assert (tmp_path / "deep" / "hls" / "outside").read_text() == "kept inside"
