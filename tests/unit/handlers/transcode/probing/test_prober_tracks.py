"""Sources of several tracks: which of them are used, and which are left out."""

from pathlib import Path

import pytest

from handlers.transcode.planning.ladder import plan
from handlers.transcode.probing.ffprobe import Ffprobe
from handlers.transcode.probing.prober import Prober
from media.asset import AssetType
from media.errors import Code
from tests.unit.handlers.transcode.conftest import Clip, rejected

PICTURE = "testsrc2=s=64x48:r=25:d=1"
SINE = "sine=d=1"
FIRST_DEFAULT = ("-disposition:a:0", "default", "-disposition:a:1", "0")
SECOND_DEFAULT = ("-disposition:a:0", "0", "-disposition:a:1", "default")


def clip_of_two_tracks(clip: Clip, name: str, first: str, second: str, *options: str) -> Path:
    maps = ("-map", "0:v", "-map", "1:a", "-map", "1:a")
    return clip(name, PICTURE, SINE, *maps, "-c:a:0", first, "-c:a:1", second, *options)


def of_unknown_codec(path: Path, tag: bytes) -> Path:
    """Copy a file, giving its audio of sample entry `tag` an unknown codec."""
    data = path.read_bytes()
    at = data.index(tag, data.index(b"stsd", data.index(b"soun")))
    copy = path.with_name(f"unknown-{path.name}")
    copy.write_bytes(data[:at] + b"zzzz" + data[at + 4 :])
    return copy


@pytest.mark.parametrize("known", [True, False])
async def test_unreadable_second_audio_track_is_left_out(prober: Prober, clip: Clip, *, known: bool) -> None:
    path = clip_of_two_tracks(clip, "recorder.mov", "aac", "alac", *FIRST_DEFAULT)
    source = path if known else of_unknown_codec(path, b"alac")
    made = plan(await prober.probe(str(source), asset_type=AssetType.VIDEO), AssetType.VIDEO)
    assert made.sound is not None
    assert made.sound.number == 1
    assert f"sound coded as {'alac' if known else 'something unknown'} left out" in made.notes


async def test_unreadable_first_audio_track_is_left_out(prober: Prober, clip: Clip) -> None:
    path = clip_of_two_tracks(clip, "second.mov", "alac", "aac", *SECOND_DEFAULT)
    made = plan(await prober.probe(str(path), asset_type=AssetType.VIDEO), AssetType.VIDEO)
    assert made.sound is not None
    assert made.sound.number == 2
    sound = clip("second.m4a", "", "", "-i", str(path), "-map", "0:a", "-c", "copy", *SECOND_DEFAULT)
    made = plan(await prober.probe(str(sound), asset_type=AssetType.AUDIO), AssetType.AUDIO)
    assert made.sound is not None
    assert made.sound.number == 2


@pytest.mark.parametrize("coding", ["dts", "truehd", "adpcm_ms", "mlp", "tta"])
async def test_audio_in_an_unlisted_codec_is_left_out(prober: Prober, clip: Clip, coding: str) -> None:
    encoder = {"dts": "dca"}.get(coding, coding)
    path = clip_of_two_tracks(clip, f"{coding}.mkv", encoder, "aac", "-strict", "-2", "-ar", "48000", *FIRST_DEFAULT)
    made = plan(await prober.probe(str(path), asset_type=AssetType.VIDEO), AssetType.VIDEO)
    assert made.sound is not None
    assert (made.sound.number, made.sound.stream) == (2, 3), (
        "the third of all tracks, whether they count the other or not"
    )
    assert f"sound coded as {coding} left out" in made.notes


async def test_second_picture_track_may_have_any_codec(prober: Prober, clip: Clip) -> None:
    maps = ("-map", "0:v", "-map", "1:v", "-c:v:0", "libx264", "-c:v:1", "ffv1")
    path = clip("second.mkv", PICTURE, "testsrc2=s=128x72:r=25:d=1", *maps)
    probed = await prober.probe(str(path), asset_type=AssetType.VIDEO)
    assert probed.video is not None
    assert (probed.video.index, probed.video.codec) == (0, "h264")


async def test_file_without_readable_audio_is_rejected(prober: Prober, clip: Clip) -> None:
    unknown = of_unknown_codec(clip("only.mov", PICTURE, SINE, "-c:a", "alac"), b"alac")
    for path in (clip("only.mkv", PICTURE, SINE, "-c:a", "tta"), unknown):
        assert (await rejected(prober, path)).code is Code.UNSUPPORTED_CODEC
    song = clip("song.mka", "", SINE, "-c:a", "tta")
    error = await rejected(prober, song, AssetType.AUDIO)
    assert (error.code, error.detail) == (Code.UNSUPPORTED_CODEC, "sound coded as tta")
    neither = clip_of_two_tracks(clip, "neither.mkv", "tta", "dca", "-strict", "-2", *SECOND_DEFAULT)
    error = await rejected(prober, neither)
    assert (error.code, error.detail) == (Code.UNSUPPORTED_CODEC, "sound coded as dts")


async def test_first_of_two_picture_tracks_is_planned(prober: Prober, clip: Clip) -> None:
    maps = ("-map", "0:v", "-map", "1:v", "-disposition:v:0", "0", "-disposition:v:1", "default")
    path = clip("two.mp4", PICTURE, "testsrc2=s=128x72:r=25:d=1", *maps)
    probed = await prober.probe(str(path), asset_type=AssetType.VIDEO)
    assert probed.video is not None
    assert (probed.video.index, probed.video.width, probed.video.height) == (0, 64, 48)


async def test_unmarked_still_before_the_film_is_rejected(prober: Prober, clip: Clip) -> None:
    still, film = clip("still.png", PICTURE, "", "-frames:v", "1"), clip("film.mp4", PICTURE)
    inputs = ("-i", str(still), "-i", str(film), "-map", "0:v", "-map", "1:v", "-c", "copy")
    unmarked = clip("unmarked.mov", "", "", *inputs)
    assert (await rejected(prober, unmarked)).code is Code.UNSUPPORTED
    after = clip("after.mov", "", "", *inputs[:4], "-map", "1:v", "-map", "0:v", "-c", "copy")
    probed = await prober.probe(str(after), asset_type=AssetType.VIDEO)
    assert probed.video is not None
    assert probed.video.codec == "h264"


async def test_private_folders_lie_below_scratch(clip: Clip, tmp_path: Path) -> None:
    program = tmp_path / "ffprobe"
    program.write_text("#!/bin/sh\npwd >&2\nexit 1\n")
    program.chmod(0o755)
    reading = await Ffprobe(str(program), 30, scratch=tmp_path).read(str(clip("any.mp4")))
    assert reading.stderr.startswith(f"{tmp_path}/probe-")
