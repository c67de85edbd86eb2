"""The checker on a presentation that conforms, and on the same one broken in one way at a time."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from handlers.transcode.check.conformance import check
from handlers.transcode.check.playlist import parse_media
from handlers.transcode.check.report import Report, Rule
from handlers.transcode.check.source import FolderSource, SourceError, open_source

SIZES = {"low": "64x36", "high": "128x72"}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two aligned variants of 14 s by ffmpeg, and a master playlist with measured numbers."""
    folder = tmp_path_factory.mktemp("hls")
    for name, size in SIZES.items():
        encode(folder, name, size, gop=50)
    write_master(folder)
    return folder


def encode_apart(folder: Path, name: str, picture: float, sound: float) -> None:
    """As `encode`, with tracks that do not last equally long."""
    inputs = ["-f", "lavfi", "-i", f"testsrc2=s={SIZES[name]}:r=25:d={picture}", "-f", "lavfi", "-i", f"sine=d={sound}"]
    codecs = ["-c:v", "libx264", "-g", "50", "-keyint_min", "50", "-sc_threshold", "0", "-c:a", "aac"]
    package = ["-f", "hls", "-hls_time", "6", "-hls_playlist_type", "vod", "-hls_segment_filename"]
    output = [str(folder / f"{name}_%d.ts"), str(folder / f"{name}.m3u8")]
    subprocess.run(
        ["ffmpeg", "-nostdin", "-v", "error", "-y", *inputs, *codecs, *package, *output], check=True, timeout=60
    )


@pytest.fixture
def hls(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "hls")


def encode(folder: Path, name: str, size: str, gop: int) -> None:
    inputs = ["-f", "lavfi", "-i", f"testsrc2=s={size}:r=25:d=14", "-f", "lavfi", "-i", "sine=d=14"]
    codecs = ["-c:v", "libx264", "-g", str(gop), "-keyint_min", str(gop), "-sc_threshold", "0", "-c:a", "aac"]
    package = ["-f", "hls", "-hls_time", "6", "-hls_playlist_type", "vod", "-hls_segment_filename"]
    output = [str(folder / f"{name}_%d.ts"), str(folder / f"{name}.m3u8")]
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", *inputs, *codecs, *package, *output], check=True, timeout=60)


def write_master(folder: Path) -> None:
    lines = ["#EXTM3U", "#EXT-X-VERSION:6"]
    for name, size in SIZES.items():
        segments = parse_media((folder / f"{name}.m3u8").read_text()).segments
        sizes = [(folder / segment.uri).stat().st_size for segment in segments]
        peak = max(bytes_ * 8 / segment.duration for bytes_, segment in zip(sizes, segments, strict=True))
        average = sum(sizes) * 8 / sum(segment.duration for segment in segments)
        lines += [
            (
                f"#EXT-X-STREAM-INF:BANDWIDTH={peak:.0f},AVERAGE-BANDWIDTH={average:.0f},RESOLUTION={size},"
                'FRAME-RATE=25.000,CODECS="avc1.64000a,mp4a.40.2"'
            ),
            f"{name}.m3u8",
            f'#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1000,URI="{name}_iframes.m3u8"',
        ]
        (folder / f"{name}_iframes.m3u8").write_text(
            "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-I-FRAMES-ONLY\n#EXTINF:6,\n#EXT-X-BYTERANGE:376@376\n"
            f"{name}_0.ts\n#EXT-X-ENDLIST\n"
        )
    (folder / "master.m3u8").write_text("\n".join(lines) + "\n")


async def report_of(folder: Path) -> Report:
    return await check(FolderSource(folder), str((folder / "master.m3u8").resolve()))


def edit(path: Path, pattern: str, replacement: str) -> None:
    changed, count = re.subn(pattern, replacement, path.read_text(), count=1)
    assert count
    path.write_text(changed)


async def test_one_that_conforms(hls: Path) -> None:
    report = await report_of(hls)
    assert report.findings == ()
    assert [(one.uri, one.segments, one.duration) for one in report.variants] == [
        ("low.m3u8", 3, 14.0),
        ("high.m3u8", 3, 14.0),
    ]
    assert str(report).endswith("clean")


SOUNDS = (
    '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="s",NAME="English",LANGUAGE="en",DEFAULT=YES,AUTOSELECT=YES\n'
    '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="s",NAME="Deutsch",LANGUAGE="de",DEFAULT=NO,URI="other.m3u8"\n'
)


@pytest.fixture
def bilingual(hls: Path) -> Path:
    """The sound of the low variant stands for another language; its rates count with each variant's."""
    package = ["-f", "hls", "-hls_time", "6", "-hls_playlist_type", "vod", "-hls_segment_filename"]
    argv = ["ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i", "sine=d=14", "-c:a", "aac", *package]
    subprocess.run([*argv, str(hls / "other_%d.ts"), str(hls / "other.m3u8")], check=True, timeout=60)
    text = (hls / "master.m3u8").read_text().replace("#EXT-X-VERSION:6\n", "#EXT-X-VERSION:6\n" + SOUNDS)
    text = text.replace("FRAME-RATE", 'AUDIO="s",FRAME-RATE')
    (hls / "master.m3u8").write_text(text)
    return hls


async def test_the_rates_of_another_language_count(bilingual: Path) -> None:
    report = await report_of(bilingual)
    assert {finding.rule for finding in report.findings} == {Rule.BANDWIDTH}
    for one in report.variants:
        edit(bilingual / "master.m3u8", rf"BANDWIDTH={one.declared_bandwidth},", f"BANDWIDTH={one.measured_bandwidth},")
        edit(
            bilingual / "master.m3u8",
            rf"AGE-BANDWIDTH={one.declared_average},",
            f"AGE-BANDWIDTH={one.measured_average},",
        )
    assert (await report_of(bilingual)).clean


UNSOUND = {
    "no such group": ("master.m3u8", r'AUDIO="s"', 'AUDIO="other"'),
    "two defaults": ("master.m3u8", "DEFAULT=NO", "DEFAULT=YES"),
    "a default that is not selected": ("master.m3u8", "AUTOSELECT=YES", "AUTOSELECT=NO"),
    "the same name": ("master.m3u8", "Deutsch", "English"),
    "half as long": ("other.m3u8", r"(?s)#EXTINF:[0-9.]+,\nother_1.ts\n#EXTINF:[0-9.]+,\nother_2.ts\n", ""),
}


@pytest.mark.parametrize("name", UNSOUND)
async def test_each_breach_of_the_languages_is_found(bilingual: Path, name: str) -> None:
    file, pattern, replacement = UNSOUND[name]
    edit(bilingual / file, pattern, replacement)
    assert Rule.SOUNDS in {finding.rule for finding in (await report_of(bilingual)).findings}


BREACHES = {
    "bandwidth": ("master.m3u8", r"BANDWIDTH=\d+", "BANDWIDTH=9000000", Rule.BANDWIDTH),
    "average": ("master.m3u8", r"AVERAGE-BANDWIDTH=\d+", "AVERAGE-BANDWIDTH=1", Rule.BANDWIDTH),
    "codecs": ("master.m3u8", r',CODECS="[^"]*"', "", Rule.ATTRIBUTES),
    "frame rate": ("master.m3u8", r"FRAME-RATE=25.000,", "", Rule.ATTRIBUTES),
    "resolution": ("master.m3u8", r"RESOLUTION=\d+x\d+,", "", Rule.ATTRIBUTES),
    "no i-frames": ("master.m3u8", r"#EXT-X-I-FRAME-STREAM-INF.*\n", "", Rule.I_FRAMES),
    "i-frames gone": ("master.m3u8", r"low_iframes", "gone", Rule.I_FRAMES),
    "i-frame range": ("low_iframes.m3u8", r"376@376", "376@99999999", Rule.I_FRAMES),
    "target": ("low.m3u8", r"TARGETDURATION:\d+", "TARGETDURATION:3", Rule.TARGET_DURATION),
    "no target": ("low.m3u8", r"#EXT-X-TARGETDURATION:\d+", "", Rule.TARGET_DURATION),
    "no end": ("low.m3u8", r"#EXT-X-ENDLIST", "", Rule.COMPLETE),
    "segment gone": ("low.m3u8", r"low_1.ts", "gone.ts", Rule.READABLE),
    "outside": ("low.m3u8", r"low_1.ts", "../../../etc/passwd", Rule.READABLE),
    "no playlist": ("low.m3u8", r"#EXTM3U", "hello", Rule.READABLE),
    "bad number": ("low.m3u8", r"EXTINF:\d", "EXTINF:x", Rule.READABLE),
    "no master": ("master.m3u8", r"#EXTM3U", "", Rule.READABLE),
}


@pytest.mark.parametrize("name", BREACHES)
async def test_each_breach_is_found(hls: Path, name: str) -> None:
    file, pattern, replacement, rule = BREACHES[name]
    edit(hls / file, pattern, replacement)
    assert rule in {finding.rule for finding in (await report_of(hls)).findings}


async def test_variants_cut_at_different_times(hls: Path) -> None:
    encode(hls, "low", SIZES["low"], gop=70)
    assert Rule.ALIGNMENT in {finding.rule for finding in (await report_of(hls)).findings}


async def test_a_segment_that_begins_in_the_middle(hls: Path) -> None:
    data = (hls / "low_1.ts").read_bytes()
    half = len(data) // 188 // 2 * 188
    (hls / "low_1.ts").write_bytes(data[half:])
    assert Rule.KEY_FRAMES in {finding.rule for finding in (await report_of(hls)).findings}


@pytest.mark.parametrize(
    ("picture", "sound", "message"),
    [
        (14, 20, "low_2.ts: its sound ends 6.0"),
        (14, 13, "low_2.ts: its sound ends 0.9"),
        (14, 4, "the sound is missing at the end"),
        (14, 14.3, ""),
    ],
)
async def test_tracks_that_do_not_last_as_long_as_the_playlist_says(
    hls: Path, picture: float, sound: float, message: str
) -> None:
    encode_apart(hls, "low", picture, sound)
    report = await report_of(hls)
    found = [finding.message for finding in report.findings if finding.rule is Rule.DURATIONS]
    assert [one[: len(message)] for one in found] == ([message] if message else [])


async def test_a_playlist_that_is_wrong_about_a_segment_in_the_middle(hls: Path) -> None:
    edit(hls / "low.m3u8", r"#EXTINF:[0-9.]+,\nlow_1.ts", "#EXTINF:4.0,\nlow_1.ts")
    found = [finding.message for finding in (await report_of(hls)).findings if finding.rule is Rule.DURATIONS]
    assert [re.sub(r"[12]\.\d+", "2", one) for one in found] == [
        f"low_2.ts: its {track} begins 2 s after what the playlist says" for track in ("picture", "sound")
    ]


async def test_nothing_is_said_of_a_clock_that_begins_anew(hls: Path) -> None:
    edit(hls / "low.m3u8", r"#EXTINF:[0-9.]+,\nlow_1.ts", "#EXT-X-DISCONTINUITY\n#EXTINF:4.0,\nlow_1.ts")
    assert Rule.DURATIONS not in {finding.rule for finding in (await report_of(hls)).findings}


async def test_a_media_playlist_is_no_master(hls: Path) -> None:
    report = await check(FolderSource(hls), str(hls / "low.m3u8"))
    assert [finding.rule for finding in report.findings] == [Rule.VARIANTS]


async def test_over_http(hls: Path) -> None:
    app = web.Application()
    app.router.add_static("/", hls)
    async with TestServer(app) as server:
        async with open_source(str(server.make_url("/master.m3u8"))) as (source, master):
            assert (await check(source, master)).clean
        async with open_source(str(server.make_url("/gone.m3u8"))) as (source, master):
            assert (await check(source, master)).findings[0].message == "HTTP 404"


async def test_a_folder_needs_one_master(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="0 master"):
        async with open_source(str(tmp_path)):
            pass


@pytest.mark.parametrize(("broken", "status"), [(False, 0), (True, 1)])
def test_the_command(hls: Path, broken: bool, status: int) -> None:
    if broken:
        edit(hls / "low.m3u8", "#EXT-X-ENDLIST", "")
    command = [sys.executable, "-m", "handlers.transcode.check", "--json", str(hls)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == status
    assert json.loads(done.stdout)["clean"] is not broken
