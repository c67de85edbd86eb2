"""A film in two languages, from the upload to the playlist of a player."""

import subprocess
from pathlib import Path
from urllib.parse import urljoin

from handlers.transcode.hls_check.conformance import check
from handlers.transcode.hls_check.playlist import parse_master, parse_media
from handlers.transcode.hls_check.source import open_source
from tests.conftest import EmbeddedStack
from tests.integration.stack.client import open_client


def film(path: Path) -> bytes:
    inputs = ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=4", *("-f", "lavfi", "-i", "sine=d=4") * 2]
    tracks = ["-map", "0", "-map", "1", "-map", "2", "-disposition:a:1", "0"]
    tags = ["-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=hin"]
    coded = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    argv = ["ffmpeg", "-nostdin", "-v", "error", *inputs, *tracks, *tags, *coded, str(path)]
    subprocess.run(argv, check=True, timeout=60)
    return path.read_bytes()


async def test_a_player_can_choose_the_language(stack: EmbeddedStack, tmp_path: Path) -> None:
    async with open_client(stack, "interpreter") as client:
        asset = await client.upload("video", "video/mp4", "film.mp4", film(tmp_path / "film.mp4"))
        assert asset["status"] == "ready", asset
        assert (await client.get(asset["asset_id"], "/report"))["clean"] is True
        url = (await client.get(asset["asset_id"], "/url?rendition=hls"))["url"]
        async with client.plain.get(url, raise_for_status=True) as answer:
            master = parse_master(await answer.text())
        own, other = master.alternatives
        assert (own.language, own.default, own.uri) == ("en", True, "")
        assert (other.language, other.name) == ("hi", "हिन्दी")
        async with client.plain.get(urljoin(url, other.uri), raise_for_status=True) as answer:
            sound = parse_media(await answer.text())
        async with client.plain.get(urljoin(url, sound.segments[0].uri), raise_for_status=True) as answer:
            assert (await answer.read())[0] == 0x47, "a transport stream"
        async with open_source(url) as (source, address):
            report = await check(source, address)
        assert report.clean, str(report)
