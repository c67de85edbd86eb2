"""The check of segments that differ from their playlists, while the playlists agree with each other."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from handlers.transcode.hls_check.playlist import PlaylistError, parse_media
from handlers.transcode.hls_check.report import Rule
from handlers.transcode.hls_check.stream.packets import StreamKind
from handlers.transcode.hls_check.stream.parameters import Parameters
from handlers.transcode.hls_check.stream.segment import contents
from tests.unit.handlers.transcode.hls_check.presentation import (
    AVC,
    PACKAGE,
    SIZES,
    edit,
    encode,
    report_of,
    write_master,
)


async def rules(folder: Path) -> set[Rule]:
    return {finding.rule for finding in (await report_of(folder)).findings}


async def test_another_size_than_declared_is_found(hls: Path) -> None:
    for name in SIZES:
        encode(hls, name, "32x18")
    write_master(hls)
    assert await rules(hls) >= {Rule.RESOLUTION}


async def test_another_frame_rate_than_declared_is_found(hls: Path) -> None:
    for name, size in SIZES.items():
        encode(hls, name, size, gop=20, codec=(*AVC, "-r", "10"))
    write_master(hls)
    assert await rules(hls) == {Rule.FRAME_RATE}


async def test_a_long_key_frame_interval_is_found(hls: Path) -> None:
    for name, size in SIZES.items():
        encode(hls, name, size, gop=150)
    write_master(hls)
    assert await rules(hls) == {Rule.KEY_FRAME_INTERVAL}


async def test_a_declared_sound_that_is_missing_is_found(hls: Path) -> None:
    for name, size in SIZES.items():
        encode(hls, name, size, seconds=(14, 0))
    write_master(hls)
    assert await rules(hls) == {Rule.CODECS}


async def test_a_hole_in_the_sound_is_found(hls: Path) -> None:
    encode(hls, "low", SIZES["low"], codec=(*AVC, "-af", "aselect='not(between(t,1,3))'"))
    write_master(hls)
    found = [finding.message for finding in (await report_of(hls)).findings if finding.rule is Rule.DURATIONS]
    assert [message[:27] for message in found] == ["low_0.ts: its sound pauses "]


async def test_damaged_packets_are_found(hls: Path) -> None:
    data = bytearray((hls / "low_1.ts").read_bytes())
    data[18_800:28_200] = b"\x5a" * 9400
    (hls / "low_1.ts").write_bytes(data)
    found = (await report_of(hls)).findings
    assert (Rule.DAMAGED, "low_1.ts: no transport packet at byte 18800") in {(one.rule, one.message) for one in found}


async def test_lost_packets_are_found(hls: Path) -> None:
    data = (hls / "low_1.ts").read_bytes()
    (hls / "low_1.ts").write_bytes(data[:18_800] + data[18_988:])
    found = [one.message for one in (await report_of(hls)).findings if one.rule is Rule.DAMAGED]
    assert len(found) == 1
    assert "are missing before byte" in found[0]


async def test_byte_ranges_without_offsets_follow_each_other(hls: Path) -> None:
    """Cover RFC 8216, 4.3.2.2: without an offset a range begins where the one before it ended."""
    for name in SIZES:
        parts = [hls / f"{name}_{number}.ts" for number in range(3)]
        (hls / f"{name}.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
        for number, part in enumerate(parts):
            size, start = part.stat().st_size, "" if number else "@0"
            edit(hls / f"{name}.m3u8", f"\n{part.name}", f"\n#EXT-X-BYTERANGE:{size}{start}\n{name}.ts")
        edit(hls / f"{name}.m3u8", r"#EXT-X-VERSION:\d+", "#EXT-X-VERSION:4")
    assert (await report_of(hls)).findings == ()


def test_a_range_without_an_offset_after_another_file_is_refused() -> None:
    text = "#EXTM3U\n#EXTINF:1,\n#EXT-X-BYTERANGE:188@0\na.ts\n#EXTINF:1,\n#EXT-X-BYTERANGE:188\nb.ts\n"
    with pytest.raises(PlaylistError, match=r"b\.ts"):
        parse_media(text)


async def test_hevc_is_checked_by_its_own_key_frames(hls: Path) -> None:
    keys = "keyint=50:min-keyint=50:scenecut=0:open-gop=0:log-level=none"
    for name, size in SIZES.items():
        encode(hls, name, size, codec=("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", keys))
    write_master(hls)
    codec = (await report_of(hls)).findings
    assert {finding.rule for finding in codec} == {Rule.CODECS}
    for _ in SIZES:
        edit(hls / "master.m3u8", "avc1.64000a", "hvc1.1.6.L30.90")
    assert (await report_of(hls)).findings == ()


def to_fragmented_mp4(folder: Path, name: str) -> None:
    argv = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(folder / f"{name}.m3u8"), "-c", "copy"]
    argv += ["-bsf:a", "aac_adtstoasc", "-hls_segment_type", "fmp4", "-hls_fmp4_init_filename", f"{name}.mp4", *PACKAGE]
    subprocess.run([*argv, str(folder / f"{name}_%d.m4s"), str(folder / f"{name}_f.m3u8")], check=True, timeout=60)
    shutil.move(folder / f"{name}_f.m3u8", folder / f"{name}.m3u8")


async def test_fragmented_mp4_is_reported_as_not_examined(hls: Path) -> None:
    for name in SIZES:
        to_fragmented_mp4(hls, name)
    report = await report_of(hls)
    assert [note.partition(":")[0] for note in report.notes] == ["low.m3u8", "high.m3u8"]
    assert {finding.rule for finding in report.findings} <= {Rule.BANDWIDTH}
    assert "not examined: low.m3u8: its segments are fragmented MP4" in str(report)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-vf", "scale=1920:1080"], Parameters("avc1.640028", 1920, 1080, 1920)),
        (["-vf", "scale=720:576,setsar=16/11"], Parameters("avc1.64001e", 720, 576, 1047)),
        (["-vf", "scale=50:38,setsar=1", "-pix_fmt", "yuv444p"], Parameters("avc1.f4000a", 50, 38, 50)),
        (["-vf", "scale=64:72", "-flags", "+ildct+ilme", "-x264-params", "tff=1"], None),
    ],
)
def test_size_and_codec_are_read_from_the_parameters(
    tmp_path: Path, arguments: list[str], expected: Parameters | None
) -> None:
    path = tmp_path / "one.ts"
    source = ["-f", "lavfi", "-i", "testsrc2=s=64x36:r=25:d=0.2"]
    subprocess.run(["ffmpeg", "-v", "error", *source, *arguments, "-c:v", "libx264", str(path)], check=True, timeout=60)
    inside = contents(path.read_bytes())
    assert inside.parameters
    assert (inside.parameters == expected) if expected else inside.parameters.fields
    assert inside.rhythm
    assert inside.rhythm.count == 5
    assert inside.spans[StreamKind.PICTURE].end - inside.spans[StreamKind.PICTURE].begin == pytest.approx(0.2)


@pytest.mark.parametrize("noise", range(40))
def test_any_bytes_can_be_read(conforming: Path, noise: int) -> None:
    """Treat damaged parameters, tables and headers like missing ones."""
    rng = random.Random(noise)  # noqa: S311 - the same noise every time
    data = bytearray((conforming / "low_0.ts").read_bytes()[: rng.randrange(188, 9400)])
    for _ in range(200):
        at = rng.randrange(len(data))
        if at % 188:
            data[at] = rng.randrange(256)
    assert contents(bytes(data), whole=False).damage is not None
