"""Sources that are legal and unusual: trimmed, high dynamic range, of two sizes. Both engines make the same of them."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from handlers.transcode.hls_check.playlist import parse_master
from media.asset import Asset, Status
from tests.integration.transcode.cases import AAC, H264, TIMEOUT, Case
from tests.integration.transcode.judge import Played, play
from tests.integration.transcode.studio import Studio, report_of

IN_SYNC = 0.04
PQ_WHITE, HLG_WHITE = "0x949494", "0xBFBFBF"
"""What a white page is in HDR: 203 candela (ITU-R BT.2408)."""
X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le", "-x265-params")
PQ = "log-level=error:transfer=smpte2084"
HLG = "log-level=error:transfer=arib-std-b67"
FULL = ":colorprim=bt2020:colormatrix=bt2020nc"


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, arguments)], check=True, timeout=TIMEOUT)


async def on_both(studio: Studio, source: Path) -> list[Asset]:
    made = [
        await studio.by_ffmpeg(await studio.asset(source)),
        await studio.by_mediaconvert(await studio.asset(source)),
    ]
    for asset in made:
        assert asset.status is Status.READY, (asset.code, asset.detail)
        assert (report := await report_of(await studio.fetch(asset))).clean, str(report)
    return made


async def played(studio: Studio, asset: Asset, case: Case) -> Played:
    return await play(await studio.fetch(asset) / "video.mp4", case.fps, studio.folder, sound=case.channels > 0)


async def test_a_clip_that_was_trimmed_without_encoding_it_anew(studio: Studio, tmp_path: Path) -> None:
    """Phones do: an edit list hides the frames between the last key frame and the cut."""
    case = Case("whole", 320, 180, seconds=3)
    trimmed = tmp_path / "trimmed.mp4"
    ffmpeg("-ss", "0.6", "-i", case.make(tmp_path), "-c", "copy", trimmed)
    for asset in await on_both(studio, trimmed):
        found = await played(studio, asset, case)
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
async def test_high_dynamic_range_is_shown_as_standard(white: str, marks: str, studio: Studio, tmp_path: Path) -> None:
    source = tmp_path / "hdr.mp4"
    ffmpeg("-f", "lavfi", "-i", f"color=c={white}:s=320x180:r=25:d=2", *X265, marks, source)
    for asset in await on_both(studio, source):
        notes = " ".join(entry.detail for entry in await studio.assets.timeline(asset.asset_id))
        assert "HDR mapped to BT.709" in notes
        folder = await studio.fetch(asset)
        shown = look(folder / "video.mp4", "stream=color_transfer,color_primaries,color_space,pix_fmt")
        assert set(shown.split()) == {"bt709", "yuv420p"}
        assert 150 < brightness(folder / "video.mp4") < 236, "neither washed out nor dark"
        assert 150 < brightness(folder / poster_of(asset)) < 256


async def test_a_picture_that_changes_its_size_keeps_its_time(studio: Studio, tmp_path: Path) -> None:
    """As calls over the web are recorded: the sender's bandwidth decides."""
    case = Case("whole", 320, 180, seconds=4)
    parts = [("black", "320x180", "0"), ("white", "640x360", "0.4*sin(880*PI*t)")]
    whole = b""
    for number, (colour, size, sound) in enumerate(parts):
        part = tmp_path / f"{colour}.ts"
        picture = f"color=c={colour}:s={size}:r=25:d=2,noise=alls=12:allf=t"
        inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", f"aevalsrc='{sound}':s=48000:d=2"]
        ffmpeg(*inputs, *H264, *AAC, "-output_ts_offset", str(2 * number), part)
        whole += part.read_bytes()
    for asset in await on_both(studio, write(tmp_path / "call.ts", whole)):
        found = await played(studio, asset, case)
        assert (asset.width, asset.height) == (320, 180)
        assert found.duration == pytest.approx(4, abs=0.1)
        assert found.white == pytest.approx(2, abs=0.09)
        # Joined at the seam, the sound's own padding counts for two of its frames.
        assert abs(found.offset) <= IN_SYNC + 2 * 1024 / 48000


async def test_every_language_is_heard(studio: Studio, tmp_path: Path) -> None:
    source = tmp_path / "interpreted.mp4"
    sounds = [word for pitch in (440, 1000) for word in ("-f", "lavfi", "-i", f"sine=f={pitch}:d=7:r=48000")]
    tracks = ["-map", "0:v", "-map", "1:a", "-map", "2:a", "-disposition:a:1", "0"]
    tags = ["-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=deu"]
    picture = "testsrc2=s=320x180:r=25:d=7"
    ffmpeg("-f", "lavfi", "-i", picture, *sounds, *tracks, *tags, *H264, *AAC, source)
    made = await on_both(studio, source)
    for asset in made:
        folder = await studio.fetch(asset)
        master = parse_master((folder / "hls/master.m3u8").read_text())
        assert [(one.name, one.language, one.default, one.uri) for one in master.alternatives] == [
            ("English", "en", True, ""),
            ("Deutsch", "de", False, "master_sound2.m3u8"),
        ]
        assert {variant.audio_group for variant in master.variants} == {"sound"}
        heard = {variant.uri: pitch_of(folder / "hls" / variant.uri) for variant in master.variants}
        assert heard == pytest.approx(dict.fromkeys(heard, 440), abs=5)
        assert pitch_of(folder / "hls/master_sound2.m3u8") == pytest.approx(1000, abs=5)
        assert pitch_of(folder / "video.mp4") == pytest.approx(440, abs=5)
        assert float(look(folder / "hls/master_sound2.m3u8", "format=duration", "a")) == pytest.approx(7, abs=0.1)
    assert await studio.keys(made[0]) == await studio.keys(made[1])


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
async def test_sound_that_cannot_be_read_is_left_out_beside_sound_that_can(
    coding: str, suffix: str, first: bool, studio: Studio, tmp_path: Path
) -> None:
    source, encoder = tmp_path / f"recorder.{suffix}", {"dts": "dca", "something unknown": "alac"}.get(coding, coding)
    sounds = [word for pitch in (440, 1000) for word in ("-f", "lavfi", "-i", f"sine=f={pitch}:d=2:r=48000")]
    tracks = ["-map", "0:v", "-map", "2:a", "-map", "1:a"] if first else ["-map", "0:v", "-map", "1:a", "-map", "2:a"]
    codings = ["-c:a:0", encoder, "-c:a:1", "aac"] if first else ["-c:a:0", "aac", "-c:a:1", encoder]
    marks = ["-strict", "-2", "-disposition:a:0", "default", "-disposition:a:1", "0"]
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=2", *sounds, *tracks, *codings, *marks, *H264, source)
    if coding == "something unknown":
        data = source.read_bytes()
        source.write_bytes(data.replace(b"alac", b"zzzz"))
    for asset in await on_both(studio, source):
        notes = " ".join(entry.detail for entry in await studio.assets.timeline(asset.asset_id))
        assert f"sound coded as {coding} left out" in notes
        assert pitch_of(await studio.fetch(asset) / "video.mp4") == pytest.approx(440, abs=5)


async def test_sound_whose_channels_change_in_the_middle_keeps_its_time(studio: Studio, tmp_path: Path) -> None:
    """As broadcasts do: ffmpeg begins its filters anew, and must not fill up again from the start."""
    case, whole = Case("whole", 320, 180, seconds=4), b""
    for number, (colour, channels, rate, sound) in enumerate(
        [("black", 2, 48000, "0"), ("white", 1, 44100, "0.4*sin(880*PI*t)")]
    ):
        part = tmp_path / f"{colour}.ts"
        inputs = ["-f", "lavfi", "-i", f"color=c={colour}:s=320x180:r=25:d=2,noise=alls=12:allf=t"]
        inputs += ["-f", "lavfi", "-i", f"aevalsrc='{sound}':s={rate}:d=2", "-ac", str(channels)]
        ffmpeg(*inputs, *H264, *AAC, "-output_ts_offset", str(2 * number), part)
        whole += part.read_bytes()
    for asset in await on_both(studio, write(tmp_path / "broadcast.ts", whole)):
        found = await played(studio, asset, case)
        assert found.white == pytest.approx(2, abs=0.09)
        assert abs(found.offset) <= IN_SYNC + 2 * 1024 / 48000
        frames = look(await studio.fetch(asset) / "video.mp4", "stream=nb_frames", "a")
        assert int(frames) * 1024 / 48000 == pytest.approx(4, abs=0.2), "and no silence twice"


async def test_of_two_pictures_the_first_is_shown(studio: Studio, tmp_path: Path) -> None:
    """Whichever is marked as the default: engines take the first, so it is planned for."""
    source = tmp_path / "two.mp4"
    pictures = [("black", "320x240"), ("white", "640x360")]
    inputs = [word for c, s in pictures for word in ("-f", "lavfi", "-i", f"color=c={c}:s={s}:r=25:d=2")]
    marks = ["-map", "0:v", "-map", "1:v", "-disposition:v:0", "0", "-disposition:v:1", "default"]
    ffmpeg(*inputs, *marks, *H264, source)
    for asset in await on_both(studio, source):
        assert (asset.width, asset.height) == (320, 240)
        assert brightness(await studio.fetch(asset) / "video.mp4") < 50


def pitch_of(path: Path) -> float:
    """The loudest frequency of a file's sound, in Hz."""
    argv = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(path), "-map", "0:a:0", "-ac", "1", "-ar", "8000"]
    done = subprocess.run([*argv, "-f", "s16le", "-"], check=True, timeout=TIMEOUT, capture_output=True)
    spectrum = np.abs(np.fft.rfft(np.frombuffer(done.stdout, np.int16)))
    return float(np.argmax(spectrum) * 4000 / (len(spectrum) - 1))


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def poster_of(asset: Asset) -> str:
    return next(one.key for one in asset.renditions if one.name == "poster").rpartition("/")[2]


def look(path: Path, entries: str, streams: str = "v") -> str:
    argv = ["ffprobe", "-v", "error", "-select_streams", streams, "-show_entries", entries, "-of", "default=nk=1:nw=1"]
    return subprocess.run([*argv, str(path)], check=True, timeout=TIMEOUT, capture_output=True, text=True).stdout


def brightness(path: Path) -> float:
    """The mean of the first picture's luma, as coded."""
    argv = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(path), "-frames:v", "1", "-vf", "extractplanes=y"]
    done = subprocess.run([*argv, "-f", "rawvideo", "-"], check=True, timeout=TIMEOUT, capture_output=True)
    return sum(done.stdout) / len(done.stdout)
