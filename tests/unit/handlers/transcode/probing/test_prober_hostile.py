"""Files that try to make the probe read other files or reach the network, and the whole corpus."""

import asyncio
import csv
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from handlers.transcode.planning.ladder import plan
from handlers.transcode.probing.prober import Prober
from media.asset import AssetType
from media.errors import Code, RejectedError
from tests.unit.handlers.transcode.conftest import Clip, Serve

WHY = {
    "ac3.mkv": Code.NO_VIDEO,
    "afconvert-aac-0.5s.mp4": Code.NO_VIDEO,
    "bipbop_16x9.m3u8": Code.UNSUPPORTED,
    "bipbop_nonfragment_header.mp4": Code.CORRUPT,
    "chunk_out_of_range.mp4": Code.CORRUPT,
    "clusterfuzz-testcase-minimized-mp4-6093954524250112": Code.CORRUPT,
    "read_passwd_bypass.mp4": Code.NO_VIDEO,
}
"""The code with which each file is rejected, which the manifest leaves open."""
REJECTIONS = {Code.UNSUPPORTED, Code.NO_VIDEO, Code.CORRUPT}


@dataclass
class Listener:
    port: int = 0
    seen: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def listening() -> AsyncIterator[Listener]:
    """Run a loopback server that records every connection made to it."""
    listener = Listener()

    async def note(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        listener.seen.append(b"connected")
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    async with server:
        listener.port = server.sockets[0].getsockname()[1]
        yield listener


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n"
SCRIPTS = {
    "hls-file": PLAYLIST.format("file:///etc/passwd"),
    "hls-http": PLAYLIST.format("http://127.0.0.1:{port}/x.ts"),
    "hls-concat": PLAYLIST.format("concat:http://127.0.0.1:{port}/header.m3u8|file:///etc/passwd"),
    "ffconcat": "ffconcat version 1.0\nfile '{neighbour}'\n",
    "ffconcat-http": "ffconcat version 1.0\nfile 'http://127.0.0.1:{port}/x.mp4'\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet><Representation>'
    "<BaseURL>http://127.0.0.1:{port}/</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n",
    "asx": "[Reference]\nRef1=http://127.0.0.1:{port}/x.asf\n",
    "text": "just some words, root:x:0:0 and so on\n" * 50,
}


@pytest.mark.parametrize("remote", [False, True], ids=["path", "http"])
@pytest.mark.parametrize("kind", SCRIPTS)
async def test_playlists_named_mp4_open_no_other_source(
    prober: Prober, clip: Clip, serve: Serve, tmp_path: Path, kind: str, remote: bool
) -> None:
    neighbour = clip("neighbour.mp4")
    async with listening() as listener:
        path = tmp_path / f"{kind}.mp4"
        path.write_text(SCRIPTS[kind].replace("{port}", str(listener.port)).replace("{neighbour}", str(neighbour)))
        address = await serve(path) if remote else str(path)
        with pytest.raises(RejectedError) as caught:
            await prober.probe(address, asset_type=AssetType.VIDEO)
        assert caught.value.code is Code.UNSUPPORTED
        assert listener.seen == []
        assert "root:" not in str(caught.value)


async def test_playlist_inside_a_subtitle_track_opens_no_other_source(prober: Prober, corpus: Path) -> None:
    with pytest.raises(RejectedError) as caught:
        await prober.probe(str((corpus / "media/read_passwd_bypass.mp4").resolve()), asset_type=AssetType.VIDEO)
    assert "root:" not in str(caught.value)


async def test_an_image_named_mp4_is_not_a_video(prober: Prober, clip: Clip, tmp_path: Path) -> None:
    picture = clip("picture.png", "testsrc2=s=64x48:r=25:d=1", "", "-frames:v", "1")
    path = tmp_path / "picture.mp4"
    path.write_bytes(picture.read_bytes())
    with pytest.raises(RejectedError) as caught:
        await prober.probe(str(path), asset_type=AssetType.VIDEO)
    assert caught.value.code is Code.UNSUPPORTED


@pytest.mark.parametrize("content", [b"", b"\0" * 5000, b"PK\x03\x04" + b"x" * 400], ids=["empty", "zeros", "zip"])
async def test_file_that_is_no_container_is_rejected(prober: Prober, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "nothing.mp4"
    path.write_bytes(content)
    with pytest.raises(RejectedError) as caught:
        await prober.probe(str(path), asset_type=AssetType.VIDEO)
    assert caught.value.code in REJECTIONS


async def test_corpus_has_the_results_of_its_manifest(prober: Prober, corpus: Path) -> None:
    with (corpus / "MANIFEST.tsv").open(newline="") as manifest:
        rows = [row for row in csv.DictReader(manifest, delimiter="\t") if row["family"] == "media"]
    assert len(rows) > 10
    found = {row["path"]: await outcome(prober, (corpus / row["path"]).resolve()) for row in rows}
    expected = {row["path"]: row["expect"].partition(":")[::2] for row in rows}
    assert found == {
        path: f"transcode:{size}" if kind == "transcode" else f"reject:{WHY[Path(path).name]}"
        for path, (kind, size) in expected.items()
    }


async def outcome(prober: Prober, path: Path) -> str:
    try:
        probed = await prober.probe(str(path), asset_type=AssetType.VIDEO)
    except RejectedError as error:
        return f"reject:{error.code}"
    made = plan(probed, AssetType.VIDEO)
    return f"transcode:{made.source_width}x{made.source_height}"


async def test_audio_files_of_the_corpus_are_audio_assets(prober: Prober, corpus: Path) -> None:
    for name, seconds in (("ac3.mkv", 2.0), ("afconvert-aac-0.5s.mp4", 0.5)):
        probed = await prober.probe(str((corpus / "media" / name).resolve()), asset_type=AssetType.AUDIO)
        assert probed.duration == pytest.approx(seconds, abs=0.05)
        assert plan(probed, AssetType.AUDIO).renditions == ("hls", "m4a")
