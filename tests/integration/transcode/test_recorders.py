"""Sound as recorders, phones and mixing desks write it: read by our ffmpeg where MediaConvert cannot."""

import re
import subprocess
from pathlib import Path

import pytest

from media.asset import AssetType, Status
from tests.integration.transcode.engine_harness import Harness, transcode_with_both
from tests.integration.transcode.playback import probe_entries
from tests.integration.transcode.source_clips import H264, TIMEOUT, run_ffmpeg

TONE = ("-f", "lavfi", "-i", "sine=f=600:d=2:r=48000")
PICTURE = ("-f", "lavfi", "-i", "testsrc2=s=128x72:r=25:d=2")
FULL_SCALE = 0.97
"""Of all channels, in phase: the worst case of a mix."""

SOUNDS = {
    "memo.m4a": ("-c:a", "alac"),
    "memo.caf": ("-c:a", "alac"),
    "note.wav": ("-c:a", "adpcm_ima_wav"),
    "telephone.wav": ("-ar", "8000", "-c:a", "libgsm_ms"),
    "memo.aiff": (),
}
FILMS = {
    "broadcast.ts": ("-c:a", "aac", "-mpegts_flags", "latm"),
    "camera.m2ts": ("-c:a", "pcm_bluray", "-ac", "2"),
    "screen.avi": ("-c:a", "adpcm_ms"),
}


def amr(path: Path) -> Path:
    """Write a second of noise in AMR's best mode, for which ffmpeg has no encoder."""
    frames = b"".join(bytes([0x3C]) + bytes((step * 37 + byte * 11) % 256 for byte in range(31)) for step in range(50))
    path.write_bytes(b"#!AMR\n" + frames)
    return path


def peak(path: Path) -> float:
    """Measure the loudest sample in dB, where 0 is full scale and more has been cut off by any player."""
    measure = ["-af", "aformat=flt,astats=measure_perchannel=none:measure_overall=Peak_level", "-f", "null", "-"]
    command = ["ffmpeg", "-nostdin", "-hide_banner", "-nostats", "-i", str(path), *measure]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT)
    return float(re.findall(r"Peak level dB: (\S+)", ended.stderr)[-1])


async def made_here(harness: Harness, source: Path, asset_type: AssetType, rendition: str) -> Path:
    """Transcode with MediaConvert set. Nothing is submitted, and the renditions are there."""
    asset = await harness.add_asset(source, asset_type)
    await harness.transcode(asset, harness.mediaconvert_engine())
    made = await harness.reload(asset)
    assert (made.status, harness.jobs.requests) == (Status.READY, {}), (made.code, made.detail)
    return await harness.fetch_outputs(made) / rendition


RARE = {"memo.caf", "memo.aiff", "note.wav", "telephone.wav", "camera.m2ts", "screen.avi"}
"""Those that take the same way as others."""


def marks(name: str) -> tuple[pytest.MarkDecorator, ...]:
    return (pytest.mark.matrix,) if name in RARE else ()


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in (*SOUNDS, "dictation.amr")])
async def test_voice_recording_is_made_here(name: str, harness: Harness, tmp_path: Path) -> None:
    source = tmp_path / name
    if name.endswith(".amr"):
        amr(source)
    else:
        run_ffmpeg(*TONE, *SOUNDS[name], source)
    made = await made_here(harness, source, AssetType.AUDIO, "audio.m4a")
    length = 1 if name.endswith(".amr") else 2
    assert float(probe_entries(made, "format=duration")) == pytest.approx(length, abs=0.1)
    assert peak(made) > -30


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in FILMS])
async def test_film_with_sound_that_only_ffmpeg_reads_is_made_here(name: str, harness: Harness, tmp_path: Path) -> None:
    source = tmp_path / name
    run_ffmpeg(*PICTURE, *TONE, *H264, *FILMS[name], source)
    made = await made_here(harness, source, AssetType.VIDEO, "video.mp4")
    assert peak(made) > -30


async def test_film_in_windows_media_is_made_here(harness: Harness, tmp_path: Path) -> None:
    source = tmp_path / "old.wmv"
    run_ffmpeg(*PICTURE, *TONE, "-c:v", "wmv2", "-c:a", "wmav2", source)
    made = await made_here(harness, source, AssetType.VIDEO, "video.mp4")
    assert peak(made) > -30


async def test_sound_that_begins_quietly_is_whole(harness: Harness, tmp_path: Path) -> None:
    """Its guessed length is many times too long: it was refused as cut short."""
    source = tmp_path / "quiet.aac"
    graph = "anullsrc=r=44100:cl=mono:d=2[q];anoisesrc=a=0.5:d=4:r=44100[l];[q][l]concat=n=2:v=0:a=1"
    run_ffmpeg("-f", "lavfi", "-i", graph, "-c:a", "aac", "-b:a", "64k", source)
    assert float(probe_entries(source, "format=duration", "a")) > 20
    for transcode in (harness.transcode_with_ffmpeg, harness.transcode_with_mediaconvert):
        made = await transcode(await harness.add_asset(source, AssetType.AUDIO))
        assert made.status is Status.READY, (made.code, made.detail)
        assert made.duration_ms == pytest.approx(6000, abs=150)


async def test_voice_on_the_second_track_is_heard(harness: Harness, tmp_path: Path) -> None:
    """As a recorder writes it whose first microphone is off."""
    source = tmp_path / "studio.mp4"
    silence = ("-f", "lavfi", "-i", "anullsrc=cl=mono:r=48000:d=2")
    run_ffmpeg(*PICTURE, *silence, *TONE, "-map", "0", "-map", "1", "-map", "2", *H264, "-c:a", "aac", source)
    for asset in await transcode_with_both(harness, source):
        assert peak(await harness.fetch_outputs(asset) / "video.mp4") > -30


@pytest.mark.parametrize(
    ("layout", "channels"), [("7.1", 8), pytest.param("4.0", 4, marks=pytest.mark.matrix), ("", 16)]
)
async def test_many_channels_are_mixed_without_clipping(
    layout: str, channels: int, harness: Harness, tmp_path: Path
) -> None:
    source = tmp_path / "desk.mov"
    tone = "|".join([f"{FULL_SCALE}*sin(880*PI*t)"] * channels)
    sound = ("-f", "lavfi", "-i", f"aevalsrc='{tone}':d=2:s=48000:c={layout or 'hexadecagonal'}")
    run_ffmpeg(*PICTURE, *sound, *H264, "-c:a", "pcm_s16le", source)
    for asset in await transcode_with_both(harness, source):
        loudest = peak(await harness.fetch_outputs(asset) / "video.mp4")
        assert -3 < loudest <= 0.1, "neither cut off nor quiet"
