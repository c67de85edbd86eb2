"""The check of servers and playlists that would keep it busy without end."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from handlers.transcode.hls_check.conformance import MAX_PLAYLISTS, check
from handlers.transcode.hls_check.measure import SAMPLE, WHOLE, Depth, spread
from handlers.transcode.hls_check.playlist import MAX_SEGMENTS, PlaylistError, parse_master, parse_media
from handlers.transcode.hls_check.report import Rule
from handlers.transcode.hls_check.rules.i_frames import check_i_frames
from handlers.transcode.hls_check.rules.rates import peak
from handlers.transcode.hls_check.source import MAX_BYTES, PLAYLIST_BYTES, FolderSource, SourceError, open_source
from tests.unit.handlers.transcode.hls_check.presentation import edit

PIECE = b"G" * 1024 * 1024
MASTER = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000\nmedia.m3u8\n"
MEDIA = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\none.ts\n#EXT-X-ENDLIST\n"


class Endless:
    """A server without ranges. `/long` gives the length of its file, `/endless` sends until the client leaves."""

    def __init__(self) -> None:
        self.sent = 0

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/long", self.long)
        app.router.add_get("/endless", self.endless)
        return app

    async def long(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 1 << 40
        return await self.send(request, response)

    async def endless(self, request: web.Request) -> web.StreamResponse:
        return await self.send(request, web.StreamResponse())

    async def send(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        await response.prepare(request)
        while self.sent < 1 << 40:
            await response.write(PIECE)
            self.sent += len(PIECE)
        return response


async def test_a_server_without_ranges_is_read_no_further_than_needed() -> None:
    server = Endless()
    async with TestServer(server.app()) as running, open_source(str(running.make_url("/long"))) as (source, address):
        assert await source.read_range(address, offset=10, length=100) == (b"G" * 100, 1 << 40)
        assert await source.read_range(address, offset=0, length=0) == (b"", 1 << 40)
    assert server.sent < MAX_BYTES


async def test_an_endless_file_is_refused() -> None:
    async with (
        TestServer(Endless().app()) as running,
        open_source(str(running.make_url("/endless"))) as (source, address),
    ):
        with pytest.raises(SourceError, match=f"larger than {PLAYLIST_BYTES}"):
            await source.read(address)
        with pytest.raises(SourceError, match=f"larger than {MAX_BYTES}"):
            await source.read_range(address, offset=0, length=1)


async def test_another_range_than_requested_is_refused() -> None:
    async def wrong(_: web.Request) -> web.Response:
        return web.Response(status=206, body=b"GGGG", headers={"Content-Range": "bytes 0-3/8"})

    app = web.Application()
    app.router.add_get("/wrong", wrong)
    async with TestServer(app) as running, open_source(str(running.make_url("/wrong"))) as (source, address):
        assert await source.read_range(address, offset=0, length=4) == (b"GGGG", 8)
        with pytest.raises(SourceError, match="another range"):
            await source.read_range(address, offset=4, length=4)


async def test_a_check_ends_at_its_deadline() -> None:
    async def never(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async def playlist(request: web.Request) -> web.Response:
        return web.Response(text=MASTER if request.path == "/master.m3u8" else MEDIA)

    app = web.Application()
    app.router.add_get("/one.ts", never)
    app.router.add_get("/{name}.m3u8", playlist)
    async with TestServer(app) as running, open_source(str(running.make_url("/master.m3u8"))) as (source, address):
        report = await check(source, address, SAMPLE, deadline=0.3)
    assert [(one.rule, one.message) for one in report.findings] == [(Rule.LIMITS, "not finished within 0 s")]


async def test_a_master_with_too_many_playlists_is_refused(hls: Path) -> None:
    edit(hls / "master.m3u8", r"\Z", "#EXT-X-STREAM-INF:BANDWIDTH=1\nlow.m3u8\n" * MAX_PLAYLISTS)
    report = await check(FolderSource(hls), str((hls / "master.m3u8").resolve()))
    assert [one.rule for one in report.findings] == [Rule.LIMITS]


def test_a_playlist_with_too_many_segments_is_refused() -> None:
    with pytest.raises(PlaylistError, match="more than"):
        parse_media("#EXTM3U\n" + "#EXTINF:0,\none.ts\n" * (MAX_SEGMENTS + 1))


async def test_a_segment_that_is_listed_many_times_is_read_once(hls: Path) -> None:
    (hls / "low.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:6\n" + "#EXTINF:0,\nlow_0.ts\n" * 20_000)
    looked: list[int] = []

    class Counting(FolderSource):
        async def read_range(self, address: str, *, offset: int, length: int) -> tuple[bytes, int]:
            looked.append(length)
            return await super().read_range(address, offset=offset, length=length)

    report = await check(Counting(hls), str((hls / "master.m3u8").resolve()))
    assert report.variants[0].segments == 20_000
    assert looked.count(WHOLE) <= 10


async def test_a_sample_reports_how_much_was_read(hls: Path) -> None:
    report = await check(FolderSource(hls), str((hls / "master.m3u8").resolve()), Depth(whole=2, heads=2))
    assert report.findings == ()
    assert [one.examined for one in report.variants] == [2, 2]
    assert report.notes[0] == "low.m3u8: 2 of 3 segments were read whole, the beginnings of 0 others"


async def test_i_frame_ranges_are_read_if_no_segment_was(hls: Path) -> None:
    source, address = FolderSource(hls), str((hls / "master.m3u8").resolve())
    listed = parse_master((hls / "master.m3u8").read_text()).i_frames
    assert await check_i_frames(source, address, listed, []) == []
    edit(hls / "low_iframes.m3u8", r"\d+@\d+(?=\nlow_1)", "188@188")
    found = await check_i_frames(source, address, listed, [])
    assert (Rule.I_FRAME_RANGES, "1 ranges hold no whole I-frame,") in {(one.rule, one.message[:31]) for one in found}


def test_peak_of_many_short_pieces_is_exact() -> None:
    assert peak([(6.0, 600), (6.0, 1200), (6.0, 600)], 6) == 1600
    assert peak([(0.0, 1)] * 200_000, 6) == 0
    assert peak([(0.00001, 10)] * 400_000 + [(6.0, 60)], 6) == pytest.approx(8_000_000)
    assert peak([(2.0, 100), (0.0, 900), (4.0, 0)], 6) == pytest.approx(900 * 8 / 4)


@pytest.mark.parametrize(("count", "most", "chosen"), [(5, 3, [0, 2, 4]), (3, 5, [0, 1, 2]), (0, 4, []), (4, None, 4)])
def test_a_sample_holds_the_first_and_the_last(count: int, most: int | None, chosen: list[int] | int) -> None:
    assert spread(count, most) == ([*range(chosen)] if isinstance(chosen, int) else chosen)
