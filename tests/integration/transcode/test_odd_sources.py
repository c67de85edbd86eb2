"""Valid but rare sources: trimmed, HDR, of two sizes. Both engines make the same outputs."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from handlers.transcode.hls_check.playlist import parse_master
from media.asset import Asset
from tests.integration.transcode.engine_harness import Harness, poster_name, transcode_with_both
from tests.integration.transcode.playback import IN_SYNC, Playback, play, probe_entries
from tests.integration.transcode.source_clips import AAC, H264, TIMEOUT, Clip, run_ffmpeg

PQ_WHITE, HLG_WHITE = "0x949494", "0xBFBFBF"
"""A white page in HDR: 203 candela per square meter (ITU-R BT.2408)."""
X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le", "-x265-params")
PQ = "log-level=error:transfer=smpte2084"
HLG = "log-level=error:transfer=arib-std-b67"
FULL = ":colorprim=bt2020:colormatrix=bt2020nc"


async def played(harness: Harness, asset: Asset, case: Clip) -> Playback:
    return await play(
        await harness.fetch_outputs(asset) / "video.mp4", case.fps, harness.folder, sound=case.channels > 0
    )


async def test_clip_trimmed_without_encoding_begins_at_the_cut(harness: Harness, tmp_path: Path) -> None:
    """Phones trim like this: an edit list hides the frames between the last key frame and the cut."""
    case = Clip("whole", 320, 180, seconds=3)
    trimmed = tmp_path / "trimmed.mp4"
    run_ffmpeg("-ss", "0.6", "-i", case.make(tmp_path), "-c", "copy", trimmed)
    for asset in await transcode_with_both(harness, trimmed):
        found = await played(harness, asset, case)
        assert found.duration == pytest.approx(2.4, abs=0.09)
        assert found.white == pytest.approx(0.4, abs=0.05)
        assert abs(found.offset) <= IN_SYNC


@pytest.mark.parametrize(
    ("white", "marks"),
    [
        pytest.param(PQ_WHITE, PQ, id="pq-half-marked"),
        pytest.param(PQ_WHITE, PQ + FULL, id="pq", marks=pytest.mark.matrix),
        pytest.param(HLG_WHITE, HLG + FULL, id="hlg"),
    ],
)
async def test_hdr_is_mapped_to_sdr(white: str, marks: str, harness: Harness, tmp_path: Path) -> None:
    source = tmp_path / "hdr.mp4"
    run_ffmpeg("-f", "lavfi", "-i", f"color=c={white}:s=320x180:r=25:d=2", *X265, marks, source)
    for asset in await transcode_with_both(harness, source):
        notes = " ".join(entry.detail for entry in await harness.assets.timeline(asset.asset_id))
        assert "HDR mapped to BT.709" in notes
        folder = await harness.fetch_outputs(asset)
        shown = probe_entries(folder / "video.mp4", "stream=color_transfer,color_primaries,color_space,pix_fmt")
        assert set(shown.split()) == {"bt709", "yuv420p"}
        assert 150 < brightness(folder / "video.mp4") < 236, "neither washed out nor dark"
        assert 150 < brightness(folder / poster_name(asset)) < 256


async def test_picture_that_changes_its_size_stays_in_sync(harness: Harness, tmp_path: Path) -> None:
    """Recordings of web calls do this: the sender's bandwidth decides."""
    case = Clip("whole", 640, 360, seconds=4)
    parts = [("black", "320x180", "0"), ("white", "640x360", "0.4*sin(880*PI*t)")]
    whole = b""
    for number, (color, size, sound) in enumerate(parts):
        part = tmp_path / f"{color}.ts"
        picture = f"color=c={color}:s={size}:r=25:d=2,noise=alls=12:allf=t"
        inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", f"aevalsrc='{sound}':s=48000:d=2"]
        run_ffmpeg(*inputs, *H264, *AAC, "-output_ts_offset", str(2 * number), part)
        whole += part.read_bytes()
    for asset in await transcode_with_both(harness, write(tmp_path / "call.ts", whole)):
        found = await played(harness, asset, case)
        assert (asset.width, asset.height) == (640, 360)
        assert found.duration == pytest.approx(4, abs=0.1)
        assert found.white == pytest.approx(2, abs=0.09)
        # Joined at the seam, the sound's own padding counts for two of its frames.
        assert abs(found.offset) <= IN_SYNC + 2 * 1024 / 48000


async def test_every_language_is_offered(harness: Harness, tmp_path: Path) -> None:
    source = tmp_path / "interpreted.mp4"
    sounds = [word for pitch in (440, 1000) for word in ("-f", "lavfi", "-i", f"sine=f={pitch}:d=7:r=48000")]
    tracks = ["-map", "0:v", "-map", "1:a", "-map", "2:a", "-disposition:a:1", "0"]
    tags = ["-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=deu"]
    picture = "testsrc2=s=320x180:r=25:d=7"
    run_ffmpeg("-f", "lavfi", "-i", picture, *sounds, *tracks, *tags, *H264, *AAC, source)
    made = await transcode_with_both(harness, source)
    for asset in made:
        folder = await harness.fetch_outputs(asset)
        master = parse_master((folder / "hls/master.m3u8").read_text())
        assert [(one.name, one.language, one.default, one.uri) for one in master.alternatives] == [
            ("English", "en", True, ""),
            ("Deutsch", "de", False, "master_sound2.m3u8"),
        ]
        assert {variant.audio_group for variant in master.variants} == {"sound"}
        pitches = {variant.uri: loudest_frequency(folder / "hls" / variant.uri) for variant in master.variants}
        assert pitches == pytest.approx(dict.fromkeys(pitches, 440), abs=5)
        assert loudest_frequency(folder / "hls/master_sound2.m3u8") == pytest.approx(1000, abs=5)
        assert loudest_frequency(folder / "video.mp4") == pytest.approx(440, abs=5)
        assert float(probe_entries(folder / "hls/master_sound2.m3u8", "format=duration", "a")) == pytest.approx(
            7, abs=0.1
        )
    assert await harness.output_keys(made[0]) == await harness.output_keys(made[1])


@pytest.mark.parametrize(
    ("coding", "suffix", "first"),
    [
        pytest.param("alac", "mov", False, id="alac", marks=pytest.mark.matrix),
        pytest.param("something unknown", "mov", False, id="unknown"),
        pytest.param("dts", "mkv", True, id="dts-first"),
        pytest.param("truehd", "mkv", False, id="truehd", marks=pytest.mark.matrix),
        pytest.param("adpcm_ms", "avi", True, id="adpcm-first", marks=pytest.mark.matrix),
    ],
)
async def test_unreadable_audio_track_is_left_out(
    coding: str, suffix: str, first: bool, harness: Harness, tmp_path: Path
) -> None:
    source, encoder = tmp_path / f"recorder.{suffix}", {"dts": "dca", "something unknown": "alac"}.get(coding, coding)
    sounds = [word for pitch in (440, 1000) for word in ("-f", "lavfi", "-i", f"sine=f={pitch}:d=2:r=48000")]
    tracks = ["-map", "0:v", "-map", "2:a", "-map", "1:a"] if first else ["-map", "0:v", "-map", "1:a", "-map", "2:a"]
    codings = ["-c:a:0", encoder, "-c:a:1", "aac"] if first else ["-c:a:0", "aac", "-c:a:1", encoder]
    marks = ["-strict", "-2", "-disposition:a:0", "default", "-disposition:a:1", "0"]
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=2", *sounds, *tracks, *codings, *marks, *H264, source)
    if coding == "something unknown":
        data = source.read_bytes()
        source.write_bytes(data.replace(b"alac", b"zzzz"))
    for asset in await transcode_with_both(harness, source):
        notes = " ".join(entry.detail for entry in await harness.assets.timeline(asset.asset_id))
        assert f"sound coded as {coding} left out" in notes
        assert loudest_frequency(await harness.fetch_outputs(asset) / "video.mp4") == pytest.approx(440, abs=5)


async def test_audio_whose_channels_change_stays_in_sync(harness: Harness, tmp_path: Path) -> None:
    """Broadcasts do this: ffmpeg starts its filters again, and must not fill up again from the start."""
    case, whole = Clip("whole", 320, 180, seconds=4), b""
    for number, (color, channels, rate, sound) in enumerate(
        [("black", 2, 48000, "0"), ("white", 1, 44100, "0.4*sin(880*PI*t)")]
    ):
        part = tmp_path / f"{color}.ts"
        inputs = ["-f", "lavfi", "-i", f"color=c={color}:s=320x180:r=25:d=2,noise=alls=12:allf=t"]
        inputs += ["-f", "lavfi", "-i", f"aevalsrc='{sound}':s={rate}:d=2", "-ac", str(channels)]
        run_ffmpeg(*inputs, *H264, *AAC, "-output_ts_offset", str(2 * number), part)
        whole += part.read_bytes()
    for asset in await transcode_with_both(harness, write(tmp_path / "broadcast.ts", whole)):
        found = await played(harness, asset, case)
        assert found.white == pytest.approx(2, abs=0.09)
        assert abs(found.offset) <= IN_SYNC + 2 * 1024 / 48000
        frames = probe_entries(await harness.fetch_outputs(asset) / "video.mp4", "stream=nb_frames", "a")
        assert int(frames) * 1024 / 48000 == pytest.approx(4, abs=0.2), "and no silence twice"


async def test_first_of_two_pictures_is_shown(harness: Harness, tmp_path: Path) -> None:
    """Engines take the first picture, whichever is marked as the default, so the plan is made for it."""
    source = tmp_path / "two.mp4"
    pictures = [("black", "320x240"), ("white", "640x360")]
    inputs = [word for c, s in pictures for word in ("-f", "lavfi", "-i", f"color=c={c}:s={s}:r=25:d=2")]
    marks = ["-map", "0:v", "-map", "1:v", "-disposition:v:0", "0", "-disposition:v:1", "default"]
    run_ffmpeg(*inputs, *marks, *H264, source)
    for asset in await transcode_with_both(harness, source):
        assert (asset.width, asset.height) == (320, 240)
        assert brightness(await harness.fetch_outputs(asset) / "video.mp4") < 50


def loudest_frequency(path: Path) -> float:
    """Return the loudest frequency of a file's audio, in Hz."""
    argv = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(path), "-map", "0:a:0", "-ac", "1", "-ar", "8000"]
    done = subprocess.run([*argv, "-f", "s16le", "-"], check=True, timeout=TIMEOUT, capture_output=True)
    spectrum = np.abs(np.fft.rfft(np.frombuffer(done.stdout, np.int16)))
    return float(np.argmax(spectrum) * 4000 / (len(spectrum) - 1))


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def brightness(path: Path) -> float:
    """Return the mean luma of the first picture, as coded."""
    argv = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(path), "-frames:v", "1", "-vf", "extractplanes=y"]
    done = subprocess.run([*argv, "-f", "rawvideo", "-"], check=True, timeout=TIMEOUT, capture_output=True)
    return sum(done.stdout) / len(done.stdout)
