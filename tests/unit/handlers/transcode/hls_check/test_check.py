"""The check of a presentation that conforms, and of the same one broken in one way at a time."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from handlers.transcode.hls_check.conformance import check
from handlers.transcode.hls_check.report import Rule
from handlers.transcode.hls_check.source import FolderSource, SourceError, open_source
from tests.unit.handlers.transcode.hls_check.presentation import SIZES, edit, encode, report_of, write_master


async def test_a_conforming_presentation_is_clean(hls: Path) -> None:
    report = await report_of(hls)
    assert report.findings == ()
    assert [(one.uri, one.segments, one.duration) for one in report.variants] == [
        ("low.m3u8", 3, 14.0),
        ("high.m3u8", 3, 14.0),
    ]
    assert str(report).endswith("clean")


ALTERNATE_AUDIO = (
    '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="s",NAME="English",LANGUAGE="en",DEFAULT=YES,AUTOSELECT=YES\n'
    '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="s",NAME="Deutsch",LANGUAGE="de",DEFAULT=NO,URI="other.m3u8"\n'
)


@pytest.fixture
def bilingual(hls: Path) -> Path:
    """Add a sound track of another language, whose rates count with each variant's."""
    package = ["-f", "hls", "-hls_time", "6", "-hls_playlist_type", "vod", "-hls_segment_filename"]
    argv = ["ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i", "sine=d=14", "-c:a", "aac", *package]
    subprocess.run([*argv, str(hls / "other_%d.ts"), str(hls / "other.m3u8")], check=True, timeout=60)
    text = (hls / "master.m3u8").read_text().replace("#EXT-X-VERSION:6\n", "#EXT-X-VERSION:6\n" + ALTERNATE_AUDIO)
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


AUDIO_BREACHES = {
    "no such group": ("master.m3u8", r'AUDIO="s"', 'AUDIO="other"'),
    "two defaults": ("master.m3u8", "DEFAULT=NO", "DEFAULT=YES"),
    "a default that is not selected": ("master.m3u8", "AUTOSELECT=YES", "AUTOSELECT=NO"),
    "the same name": ("master.m3u8", "Deutsch", "English"),
    "half as long": ("other.m3u8", r"(?s)#EXTINF:[0-9.]+,\nother_1.ts\n#EXTINF:[0-9.]+,\nother_2.ts\n", ""),
}


@pytest.mark.parametrize("name", AUDIO_BREACHES)
async def test_each_breach_of_alternate_audio_is_found(bilingual: Path, name: str) -> None:
    file, pattern, replacement = AUDIO_BREACHES[name]
    edit(bilingual / file, pattern, replacement)
    assert Rule.ALTERNATE_AUDIO in {finding.rule for finding in (await report_of(bilingual)).findings}


BREACHES = {
    "bandwidth": ("master.m3u8", r"BANDWIDTH=\d+", "BANDWIDTH=9000000", Rule.BANDWIDTH),
    "average": ("master.m3u8", r"AVERAGE-BANDWIDTH=\d+", "AVERAGE-BANDWIDTH=1", Rule.BANDWIDTH),
    "codecs": ("master.m3u8", r',CODECS="[^"]*"', "", Rule.ATTRIBUTES),
    "frame rate": ("master.m3u8", r"FRAME-RATE=25.000,", "", Rule.ATTRIBUTES),
    "resolution": ("master.m3u8", r"RESOLUTION=\d+x\d+,", "", Rule.ATTRIBUTES),
    "no i-frames": ("master.m3u8", r"#EXT-X-I-FRAME-STREAM-INF.*\n", "", Rule.I_FRAMES),
    "i-frames gone": ("master.m3u8", r"low_iframes", "gone", Rule.I_FRAMES),
    "i-frame range": ("low_iframes.m3u8", r"(BYTERANGE:\d+)@\d+(?=\nlow_2)", r"\1@99999999", Rule.I_FRAME_RANGES),
    "i-frames elsewhere": ("low_iframes.m3u8", r"@(?!0)\d+(?=\nlow_1)", "@188", Rule.I_FRAME_RANGES),
    "i-frames cut short": ("low_iframes.m3u8", r"BYTERANGE:\d+@(?=\d+\nlow_1)", "BYTERANGE:188@", Rule.I_FRAME_RANGES),
    "i-frames in no file": ("low_iframes.m3u8", r"\nlow_1.ts", "\ngone.ts", Rule.I_FRAMES),
    "i-frame rate": ("master.m3u8", r"INF:BANDWIDTH=\d+,URI", "INF:BANDWIDTH=1,URI", Rule.I_FRAME_BANDWIDTH),
    "another profile": ("master.m3u8", "avc1.64000a", "avc1.42c00a", Rule.CODECS),
    "another level": ("master.m3u8", "avc1.64000a", "avc1.640028", Rule.CODECS),
    "no codec at all": ("master.m3u8", r'CODECS="[^"]*"', 'CODECS="xyz"', Rule.CODECS),
    "sound kept back": ("master.m3u8", r",mp4a.40.2", "", Rule.CODECS),
    "other size": ("master.m3u8", "RESOLUTION=64x36", "RESOLUTION=1920x1080", Rule.RESOLUTION),
    "no size": ("master.m3u8", "RESOLUTION=64x36", "RESOLUTION=large", Rule.RESOLUTION),
    "other rate": ("master.m3u8", "RATE=25.000", "RATE=60.000", Rule.FRAME_RATE),
    "huge target": ("low.m3u8", r"TARGETDURATION:\d+", "TARGETDURATION:600", Rule.TARGET_DURATION),
    "no version": ("low.m3u8", r"#EXT-X-VERSION:\d+\n", "", Rule.VERSION),
    "no version of i-frames": ("low_iframes.m3u8", r"#EXT-X-VERSION:\d+\n", "", Rule.VERSION),
    "twice": ("master.m3u8", r"(?s)(#EXT-X-STREAM-INF[^\n]*\nlow.m3u8\n)", r"\1\1", Rule.REPEATED),
    "i-frames twice": ("master.m3u8", r"(#EXT-X-I-FRAME-STREAM-INF.*\n)", r"\1\1", Rule.REPEATED),
    "range of nothing": ("low.m3u8", r"\nlow_1.ts", "\n#EXT-X-BYTERANGE:188\nlow_1.ts", Rule.READABLE),
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


async def test_variants_cut_at_different_times_are_found(hls: Path) -> None:
    encode(hls, "low", SIZES["low"], gop=70)
    assert Rule.ALIGNMENT in {finding.rule for finding in (await report_of(hls)).findings}


async def test_a_segment_without_a_key_frame_first_is_found(hls: Path) -> None:
    data = (hls / "low_1.ts").read_bytes()
    half = len(data) // 188 // 2 * 188
    (hls / "low_1.ts").write_bytes(data[half:])
    assert Rule.KEY_FRAMES in {finding.rule for finding in (await report_of(hls)).findings}


@pytest.mark.parametrize(
    ("picture", "sound", "messages"),
    [
        (14, 20, ["low_2.ts: its sound ends 6.0"]),
        (14, 13, ["low_2.ts: its sound ends 0.9"]),
        (14, 4, ["low_0.ts: its sound ends 1.9", "the sound is missing at the end, first in low_1.ts"]),
        (14, 14.3, []),
    ],
)
async def test_tracks_of_another_length_than_the_playlist_says_are_found(
    hls: Path, picture: float, sound: float, messages: list[str]
) -> None:
    encode(hls, "low", SIZES["low"], seconds=(picture, sound))
    write_master(hls)
    report = await report_of(hls)
    found = [finding.message for finding in report.findings if finding.rule is Rule.DURATIONS]
    assert len(found) == len(messages)
    assert all(one.startswith(message) for one, message in zip(found, messages, strict=True))


async def test_a_wrong_duration_in_the_middle_is_found(hls: Path) -> None:
    edit(hls / "low.m3u8", r"#EXTINF:[0-9.]+,\nlow_1.ts", "#EXTINF:4.0,\nlow_1.ts")
    found = [finding.message for finding in (await report_of(hls)).findings if finding.rule is Rule.DURATIONS]
    assert [re.sub(r"[12]\.\d+", "2", one) for one in found] == [
        f"low_1.ts: its {track} ends 2 s after what the playlist says" for track in ("picture", "sound")
    ]


async def test_durations_are_not_compared_if_the_clock_restarts(hls: Path) -> None:
    edit(hls / "low.m3u8", r"#EXTINF:[0-9.]+,\nlow_1.ts", "#EXT-X-DISCONTINUITY\n#EXTINF:4.0,\nlow_1.ts")
    assert Rule.DURATIONS not in {finding.rule for finding in (await report_of(hls)).findings}


async def test_a_media_playlist_is_no_master(hls: Path) -> None:
    report = await check(FolderSource(hls), str(hls / "low.m3u8"))
    assert [finding.rule for finding in report.findings] == [Rule.VARIANTS]


async def test_a_web_address_can_be_checked(hls: Path) -> None:
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
def test_the_command_exits_with_the_result(hls: Path, broken: bool, status: int) -> None:
    if broken:
        edit(hls / "low.m3u8", "#EXT-X-ENDLIST", "")
    command = [sys.executable, "-m", "handlers.transcode.hls_check", "--json", str(hls)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == status
    assert json.loads(done.stdout)["clean"] is not broken
