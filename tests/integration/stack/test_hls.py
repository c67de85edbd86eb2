"""A presentation is saved flat, every file once, whatever its URLs carry."""

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
class Site:
    """A server of FILES. `asked` are the paths that were fetched."""

    base: str
    asked: list[str]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(text=FILES[request.path])

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server:
        yield Site(str(server.make_url("")).rstrip("/"), asked)


async def test_playlists_name_local_files_and_each_is_fetched_once(site: Site, tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as http:
        master = await hls.save(http, f"{site.base}/a/index.m3u8?token=t", tmp_path / "hls")
    saved = {path.name: path.read_text() for path in (tmp_path / "hls").iterdir()}
    assert "?" not in "".join(saved.values())
    assert sorted(text for text in saved.values() if not text.startswith("#EXTM3U")) == ["init", "picture", "sound"]
    for line in master.read_text().splitlines():
        if line and not line.startswith("#"):
            assert line in saved
    assert len(site.asked) == len(set(site.asked)) == 7


async def test_what_is_not_a_playlist_is_refused(site: Site, tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(PlaylistError, match="not a playlist"):
            await hls.save(http, f"{site.base}/not/a/playlist.m3u8", tmp_path / "hls")


async def test_a_hostile_name_stays_in_the_folder(site: Site, tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as http:
        await hls.save(http, f"{site.base}/up.m3u8", tmp_path / "deep" / "hls")
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path / "deep" / "outside").exists()
    assert (tmp_path / "deep" / "hls" / "outside").read_text() == "kept inside"
