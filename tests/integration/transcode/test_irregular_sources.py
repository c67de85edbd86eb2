"""Recordings as people make them: stills, gaps, late pictures, clocks that restart, cut files. All play in sync."""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from handlers.transcode.hls_check.playlist import parse_media
from tests.integration.transcode.engine_harness import Harness, transcode_with_both
from tests.integration.transcode.playback import IN_SYNC, play
from tests.integration.transcode.source_clips import AAC, H264, Clip, run_ffmpeg

RATE = Clip("any", 160, 90).fps
LENGTH = 16.0
EVENT = 14.0
"""Seconds after which the picture turns white and a tone begins."""


def make(path: Path, picture: str = "null", sound: str = "anull", *options: str) -> None:
    """Make a film in which the event happens after all that `picture` and `sound` leave out."""
    white = f"drawbox=x=0:y=0:w=iw:h=ih:c=white:t=fill:enable='gte(t,{EVENT})'"
    shown = f"color=c=black:s=160x90:r={RATE}:d={LENGTH},{white}"
    tone = f"aevalsrc='0.4*sin(880*PI*t)*gte(t,{EVENT})':s=48000:d={LENGTH}"
    inputs = ["-f", "lavfi", "-i", shown, "-f", "lavfi", "-i", tone, "-vf", picture, "-af", sound]
    coding = [*H264, *AAC, "-g", "25", "-fps_mode", "passthrough", "-max_interleave_delta", "0"]
    run_ffmpeg(*inputs, *coding, *options, path)


def make_cut(path: Path) -> None:
    make(path, "null", "anull", "-f", "matroska", "-live", "1")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 98 // 100])


def make_restarting(path: Path) -> None:
    """Make a transport stream whose clock jumps by an hour in the middle."""
    make(path)
    parts = []
    for begin, offset in ((0, 0), (8, 3600)):
        part = path.with_name(f"part-{begin}.ts")
        run_ffmpeg("-ss", str(begin), "-t", "8", "-i", path, "-c", "copy", "-output_ts_offset", str(offset), part)
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))


@dataclass(frozen=True)
class Irregular:
    name: str
    suffix: str
    make: Callable[[Path], None]

    def __str__(self) -> str:
        return self.name


CASES = [
    Irregular("still", "mp4", lambda path: make(path, "select='lt(t,0.03)+gte(t,13.5)'")),
    Irregular("late-picture", "mkv", lambda path: make(path, "select='gte(t,12)'")),
    Irregular("late-picture", "ts", lambda path: make(path, "select='gte(t,12)'")),
    Irregular("sound-gap", "ts", lambda path: make(path, sound="aselect='lt(t,1)+gte(t,13)'")),
    Irregular("picture-gap", "ts", lambda path: make(path, "select='lt(t,1)+gte(t,13)'")),
    Irregular("restarting-clock", "ts", make_restarting),
]
RARE = {"late-picture-mkv", "picture-gap-ts", "sound-gap-ts", "restarting-clock-ts"}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(one, id=(name := f"{one.name}-{one.suffix}"), marks=pytest.mark.matrix if name in RARE else ())
        for one in CASES
    ],
)
async def test_irregular_recording_plays_whole_and_in_sync(case: Irregular, harness: Harness, tmp_path: Path) -> None:
    source = tmp_path / f"{case.name}.{case.suffix}"
    case.make(source)
    for asset in await transcode_with_both(harness, source):
        assert asset.duration_ms is not None
        assert asset.duration_ms / 1000 == pytest.approx(LENGTH, abs=0.2)
        folder = await harness.fetch_outputs(asset)
        variant = next((folder / "hls").glob("master_90p.m3u8"))
        assert sum(one.duration for one in parse_media(variant.read_text()).segments) == pytest.approx(LENGTH, abs=0.2)
        for path in (folder / "video.mp4", variant):
            found = await play(path, RATE, harness.folder, sound=True)
            assert found.white == pytest.approx(EVENT, abs=0.15)
            assert abs(found.offset) <= IN_SYNC + 2 * 1024 / 48000


async def test_sound_that_lost_single_packets_stays_in_sync(harness: Harness, tmp_path: Path) -> None:
    """As of a call with a bad connection: each loss is short, and they add up."""
    source = tmp_path / "call.mkv"
    make(source, "null", "anull", "-bsf:a", "noise=drop='gt(n,100)*lt(n,401)*not(mod(n,100))+eq(n,450)'")
    asset = await harness.transcode_with_ffmpeg(await harness.add_asset(source))
    found = await play(await harness.fetch_outputs(asset) / "video.mp4", RATE, harness.folder, sound=True)
    assert abs(found.offset) <= IN_SYNC


def claiming(path: Path, seconds: int) -> None:
    """Make a fragmented MP4 whose header claims another length in all its boxes."""
    make(path, "null", "anull", "-movflags", "frag_keyframe+empty_moov+default_base_moof")
    data = bytearray(path.read_bytes())
    for box, timescale, duration in ((b"mvhd", 16, 20), (b"mdhd", 16, 20)):
        at = -1
        while (at := data.find(box, at + 1)) > 0:
            (ticks,) = struct.unpack_from(">I", data, at + timescale)
            struct.pack_into(">I", data, at + duration, ticks * seconds)
    path.write_bytes(data)


def shortened(path: Path) -> None:
    """Make an MP4 in which the header of the sound claims 0.7 s."""
    make(path)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"mdhd", 0, data.index(b"soun"))
    (ticks,) = struct.unpack_from(">I", data, at + 16)
    struct.pack_into(">I", data, at + 20, ticks * 7 // 10)
    path.write_bytes(data)


@pytest.mark.matrix
@pytest.mark.parametrize("make_source", [lambda path: claiming(path, 36_000), shortened], ids=["hours", "short"])
async def test_length_that_a_header_claims_is_not_believed(
    make_source: Callable[[Path], None], harness: Harness, tmp_path: Path
) -> None:
    source = tmp_path / "claim.mp4"
    make_source(source)
    for asset in await transcode_with_both(harness, source):
        assert asset.duration_ms is not None
        assert asset.duration_ms / 1000 == pytest.approx(LENGTH, abs=0.2)
        found = await play(await harness.fetch_outputs(asset) / "video.mp4", RATE, harness.folder, sound=True)
        assert found.white == pytest.approx(EVENT, abs=0.15)
        assert abs(found.offset) <= IN_SYNC + 2 * 1024 / 48000


INTERLACED_AVI = {
    "dv": ("720x576", "-c:v", "dvvideo", "-pix_fmt", "yuv420p", "-c:a", "pcm_s16le"),
    "divx": ("320x240", "-c:v", "mpeg4", "-flags", "+ildct+ilme", "-vtag", "DIVX", "-q:v", "2", "-c:a", "libmp3lame"),
}


@pytest.mark.matrix
@pytest.mark.parametrize("name", INTERLACED_AVI)
async def test_avi_that_only_its_frames_call_interlaced_is_deinterlaced(
    name: str, harness: Harness, tmp_path: Path
) -> None:
    size, *codecs = INTERLACED_AVI[name]
    source = tmp_path / "camera.avi"
    bar = f"color=c=black:s={size}:r=50:d=2[b];color=c=white:s=40x400:r=50:d=2[w];[b][w]overlay=x='mod(n*8,200)':y=20"
    fields = ["-vf", "tinterlace=interleave_bottom,fieldorder=bff"]
    run_ffmpeg("-f", "lavfi", "-i", bar, "-f", "lavfi", "-i", "sine=d=2:r=48000", *fields, *codecs, source)
    assert combing(source, tmp_path) > 0.5
    for asset in await transcode_with_both(harness, source):
        film = await harness.fetch_outputs(asset) / "video.mp4"
        assert combing(film, tmp_path) < 0.3


def combing(path: Path, folder: Path) -> float:
    """Return the share of the differences between lines that the next line takes back, where something moves."""
    gray = folder / "gray"
    run_ffmpeg("-i", path, "-vf", "crop=200:160:20:40,format=gray", "-f", "rawvideo", gray)
    frames = np.frombuffer(gray.read_bytes(), np.uint8).reshape(-1, 160, 200).astype(np.int16)
    one, two = np.abs(frames[:, 1:-1] - frames[:, :-2]), np.abs(frames[:, 2:] - frames[:, :-2])
    moved = one > 60
    return float((two[moved] < 30).mean()) if moved.any() else 0.0


async def test_file_that_was_cut_plays_to_there_with_a_note(harness: Harness, tmp_path: Path) -> None:
    source = tmp_path / "crashed.mkv"
    make_cut(source)
    for asset in await transcode_with_both(harness, source):
        (note,) = asset.notes
        assert asset.duration_ms is not None
        assert note.code == "cut_short"
        assert re.fullmatch(r"It ends after 1[3-6]\.\d s", note.detail)
        assert 13 < asset.duration_ms / 1000 < LENGTH


async def test_call_that_begins_small_has_its_later_size(harness: Harness, tmp_path: Path) -> None:
    """Half of the film is 4:3: it is shown whole, with bars at its sides."""
    parts = []
    for number, size in enumerate(("120x90", "320x180")):
        part = tmp_path / f"{number}.ts"
        inputs = ["-f", "lavfi", "-i", f"color=c=white:s={size}:r=25:d=2", "-f", "lavfi", "-i", "sine=d=2:r=48000"]
        run_ffmpeg(*inputs, *H264, *AAC, "-output_ts_offset", str(2 * number), part)
        parts.append(part.read_bytes())
    source = tmp_path / "call.ts"
    source.write_bytes(b"".join(parts))
    for asset in await transcode_with_both(harness, source):
        assert (asset.width, asset.height) == (320, 180)
        film = await harness.fetch_outputs(asset) / "video.mp4"
        gray = tmp_path / "gray"
        run_ffmpeg("-i", film, "-vf", "format=gray", "-f", "rawvideo", gray)
        frames = gray.read_bytes()
        count, size_of_one = len(frames) // (320 * 180), 320 * 180
        assert count == pytest.approx(100, abs=2)
        first, last = frames[:size_of_one], frames[-size_of_one:]
        row = 90 * 320
        assert (first[row + 10] < 40, first[row + 160] > 200, last[row + 10] > 200) == (True, True, True)
        white = sum(frames[at * size_of_one + row + 10] > 128 for at in range(count))
        assert white == pytest.approx(50, abs=2), "no picture of the second half is lost"
