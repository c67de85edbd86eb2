"""Durations of sources: tracks that end apart, false headers, and files with hardly any content."""

import struct
from pathlib import Path

import pytest

from handlers.transcode.planning.ladder import plan
from handlers.transcode.planning.plan import Plan
from handlers.transcode.probing.prober import Prober
from media.asset import AssetType
from media.errors import Code, RejectedError
from tests.unit.handlers.transcode.conftest import Clip

PICTURE = "testsrc2=s=64x48:r=25:d={}"
HOURS = 3 * 3600


def uneven_clip(clip: Clip, suffix: str, picture: float, sound: float, *options: str) -> Path:
    name = f"uneven-{picture}-{sound}{'-' * len(options)}.{suffix}"
    return clip(name, PICTURE.format(picture), f"sine=d={sound}", *options)


async def planned(path: Path) -> Plan:
    return plan(await Prober().probe(str(path), asset_type=AssetType.VIDEO), AssetType.VIDEO)


async def rejected(path: Path) -> RejectedError:
    with pytest.raises(RejectedError) as caught:
        await Prober().probe(str(path), asset_type=AssetType.VIDEO)
    return caught.value


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi", "flv"])
@pytest.mark.parametrize(("picture", "sound"), [(2, 8), (8, 2), (4, 4)])
async def test_shorter_track_is_recognized(clip: Clip, suffix: str, picture: float, sound: float) -> None:
    made = await planned(uneven_clip(clip, suffix, picture, sound))
    assert made.sound is not None
    assert made.duration_ms / 1000 == pytest.approx(max(picture, sound), abs=0.2)
    assert (made.short_picture, made.sound.short) == (picture < sound, sound < picture)


async def test_fragments_are_read_when_the_header_lacks_the_end(clip: Clip) -> None:
    made = await planned(uneven_clip(clip, "mp4", 2, 8, "-movflags", "frag_keyframe+empty_moov"))
    assert made.duration_ms / 1000 == pytest.approx(8, abs=0.2)
    assert made.short_picture


async def test_unused_track_does_not_count_for_the_duration(clip: Clip, tmp_path: Path) -> None:
    words = tmp_path / "words.srt"
    words.write_text("1\n00:00:00,000 --> 00:00:50,000\nthe longest of all\n")
    path = clip("subtitled.mkv", PICTURE.format(4), "sine=d=4", "-i", str(words), "-map", "0", "-map", "1", "-map", "2")
    assert (await planned(path)).duration_ms / 1000 == pytest.approx(4, abs=0.2)


def with_duration(path: Path, seconds: int, *boxes: bytes) -> Path:
    """Copy an MP4 whose headers (each in its own unit of time) claim `seconds`."""
    data = bytearray(path.read_bytes())
    for box in boxes:
        at = data.index(box) + 4
        # Version 0: flags, two dates; a track's number and a reserved word; else a scale; then the duration.
        scale = 1000 if box == b"tkhd" else struct.unpack_from(">I", data, at + 12)[0]
        struct.pack_into(">I", data, at + (20 if box == b"tkhd" else 16), seconds * scale)
    copy = path.with_name(f"lied-{len(boxes)}-{path.name}")
    copy.write_bytes(data)
    return copy


async def test_false_duration_in_the_header_is_ignored(clip: Clip) -> None:
    path = clip("seconds.mp4", PICTURE.format(3), "sine=d=3")
    for boxes in ([b"mvhd"], [b"mvhd", b"tkhd", b"mdhd"]):
        assert (await planned(with_duration(path, HOURS, *boxes))).duration_ms / 1000 == pytest.approx(3, abs=0.1)
    assert (await planned(with_duration(path, 20 * 3600, b"mvhd"))).duration_ms / 1000 == pytest.approx(3, abs=0.1)


def with_long_frame(path: Path, seconds: int) -> Path:
    """Copy an MP4 of one constant rate whose first picture stays for `seconds`."""
    data = bytearray(path.read_bytes())
    (scale,) = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)
    at = data.index(b"stts") + 8
    count, frames, ticks = struct.unpack_from(">III", data, at)
    assert count == 1
    # One entry becomes two; the box behind it gives way, and so do those around it.
    grown = struct.pack(">IIIII", 2, 1, seconds * scale, frames - 1, ticks)
    data[at : at + 12] = grown
    for box in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts"):
        start = data.index(box) - 4
        struct.pack_into(">I", data, start, struct.unpack_from(">I", data, start)[0] + 8)
    for box, offset in ((b"mvhd", 20), (b"tkhd", 24), (b"elst", 12)):
        struct.pack_into(">I", data, data.index(box) + offset, (seconds + 3) * 1000)
    struct.pack_into(">I", data, data.index(b"mdhd") + 20, (seconds + 3) * scale)
    copy = path.with_name(f"standing-{seconds}-{path.name}")
    copy.write_bytes(data)
    return copy


async def test_hours_with_hardly_any_content_are_rejected(clip: Clip) -> None:
    path = clip("few.mp4", PICTURE.format(3), "", "-bf", "0")
    error = await rejected(with_long_frame(path, HOURS))
    assert (error.code, "hardly anything" in error.detail) == (Code.CORRUPT, True)
    slide = await planned(with_long_frame(path, 900))
    assert slide.duration_ms / 1000 == pytest.approx(903, abs=1), "a slide may stay for a quarter of an hour"


async def test_gap_of_hours_is_rejected(clip: Clip) -> None:
    path = clip("gap.mkv", f"{PICTURE.format(4)},setpts='PTS+gte(T,2)*{HOURS}/TB'", "", "-fps_mode", "vfr", "-bf", "0")
    assert (await rejected(path)).code is Code.CORRUPT
