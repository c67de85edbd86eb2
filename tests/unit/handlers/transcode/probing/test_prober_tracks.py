"""Sources of several tracks: which of them count, and which are passed over."""

from pathlib import Path

import pytest

from handlers.transcode.planning.ladder import plan
from handlers.transcode.probing.ffprobe import Ffprobe
from handlers.transcode.probing.prober import Prober
from media.asset import AssetType
from media.errors import Code, RejectedError
from tests.unit.handlers.transcode.conftest import Clip

PICTURE = "testsrc2=s=64x48:r=25:d=1"
SINE = "sine=d=1"
FIRST_DEFAULT = ("-disposition:a:0", "default", "-disposition:a:1", "0")
SECOND_DEFAULT = ("-disposition:a:0", "0", "-disposition:a:1", "default")


def of_two_sounds(clip: Clip, name: str, first: str, second: str, *options: str) -> Path:
    maps = ("-map", "0:v", "-map", "1:a", "-map", "1:a")
    return clip(name, PICTURE, SINE, *maps, "-c:a:0", first, "-c:a:1", second, *options)


def of_unknown_codec(path: Path, tag: bytes) -> Path:
    """A copy whose sound of sample entry `tag` is coded in a way that nobody knows."""
    data = path.read_bytes()
    at = data.index(tag, data.index(b"stsd", data.index(b"soun")))
    copy = path.with_name(f"unknown-{path.name}")
    copy.write_bytes(data[:at] + b"zzzz" + data[at + 4 :])
    return copy


async def rejected(prober: Prober, path: Path, asset_type: AssetType = AssetType.VIDEO) -> RejectedError:
    with pytest.raises(RejectedError) as caught:
        await prober.probe(str(path), asset_type=asset_type)
    return caught.value


@pytest.mark.parametrize("known", [True, False])
async def test_a_second_sound_that_cannot_be_read_is_left_out(prober: Prober, clip: Clip, *, known: bool) -> None:
    path = of_two_sounds(clip, "recorder.mov", "aac", "alac", *FIRST_DEFAULT)
    source = path if known else of_unknown_codec(path, b"alac")
    made = plan(await prober.probe(str(source), asset_type=AssetType.VIDEO), AssetType.VIDEO)
    assert made.sound is not None
    assert made.sound.number == 1
    assert f"sound coded as {'alac' if known else 'something unknown'} left out" in made.notes


async def test_the_first_sound_may_be_the_unreadable_one(prober: Prober, clip: Clip) -> None:
    path = of_two_sounds(clip, "second.mov", "alac", "aac", *SECOND_DEFAULT)
    made = plan(await prober.probe(str(path), asset_type=AssetType.VIDEO), AssetType.VIDEO)
    assert made.sound is not None
    assert made.sound.number == 2
    sound = clip("second.m4a", "", "", "-i", str(path), "-map", "0:a", "-c", "copy", *SECOND_DEFAULT)
    made = plan(await prober.probe(str(sound), asset_type=AssetType.AUDIO), AssetType.AUDIO)
    assert made.sound is not None
    assert made.sound.number == 2


@pytest.mark.parametrize("coding", ["dts", "truehd", "adpcm_ms", "mlp", "tta"])
async def test_sound_in_codings_of_no_list_is_left_out(prober: Prober, clip: Clip, coding: str) -> None:
    encoder = {"dts": "dca"}.get(coding, coding)
    path = of_two_sounds(clip, f"{coding}.mkv", encoder, "aac", "-strict", "-2", "-ar", "48000", *FIRST_DEFAULT)
    made = plan(await prober.probe(str(path), asset_type=AssetType.VIDEO), AssetType.VIDEO)
    assert made.sound is not None
    assert (made.sound.number, made.sound.stream) == (2, 3), (
        "the third of all tracks, whether they count the other or not"
    )
    assert f"sound coded as {coding} left out" in made.notes


async def test_a_picture_beside_the_film_may_be_coded_in_any_way(prober: Prober, clip: Clip) -> None:
    maps = ("-map", "0:v", "-map", "1:v", "-c:v:0", "libx264", "-c:v:1", "ffv1")
    path = clip("beside.mkv", PICTURE, "testsrc2=s=128x72:r=25:d=1", *maps)
    probed = await prober.probe(str(path), asset_type=AssetType.VIDEO)
    assert probed.video is not None
    assert (probed.video.index, probed.video.codec) == (0, "h264")


async def test_one_sound_must_be_readable(prober: Prober, clip: Clip) -> None:
    only = clip("only.mov", PICTURE, SINE, "-c:a", "alac")
    for path in (only, of_unknown_codec(only, b"alac")):
        assert (await rejected(prober, path)).code is Code.UNSUPPORTED_CODEC
    song = clip("song.m4a", "", SINE, "-c:a", "alac")
    error = await rejected(prober, song, AssetType.AUDIO)
    assert (error.code, error.detail) == (Code.UNSUPPORTED_CODEC, "sound coded as alac")
    neither = of_two_sounds(clip, "neither.mkv", "alac", "dca", "-strict", "-2", *SECOND_DEFAULT)
    error = await rejected(prober, neither)
    assert (error.code, error.detail) == (Code.UNSUPPORTED_CODEC, "sound coded as dts")


async def test_of_two_pictures_the_first_is_planned_for(prober: Prober, clip: Clip) -> None:
    maps = ("-map", "0:v", "-map", "1:v", "-disposition:v:0", "0", "-disposition:v:1", "default")
    path = clip("two.mp4", PICTURE, "testsrc2=s=128x72:r=25:d=1", *maps)
    probed = await prober.probe(str(path), asset_type=AssetType.VIDEO)
    assert probed.video is not None
    assert (probed.video.index, probed.video.width, probed.video.height) == (0, 64, 48)


async def test_a_still_before_the_film_must_be_marked(prober: Prober, clip: Clip) -> None:
    still, film = clip("still.png", PICTURE, "", "-frames:v", "1"), clip("film.mp4", PICTURE)
    inputs = ("-i", str(still), "-i", str(film), "-map", "0:v", "-map", "1:v", "-c", "copy")
    unmarked = clip("unmarked.mov", "", "", *inputs)
    assert (await rejected(prober, unmarked)).code is Code.UNSUPPORTED
    after = clip("after.mov", "", "", *inputs[:4], "-map", "1:v", "-map", "0:v", "-c", "copy")
    probed = await prober.probe(str(after), asset_type=AssetType.VIDEO)
    assert probed.video is not None
    assert probed.video.codec == "h264"


async def test_private_folders_lie_where_they_are_told_to(clip: Clip, tmp_path: Path) -> None:
    program = tmp_path / "ffprobe"
    program.write_text("#!/bin/sh\npwd >&2\nexit 1\n")
    program.chmod(0o755)
    reading = await Ffprobe(str(program), 30, scratch=tmp_path).read(str(clip("any.mp4")))
    assert reading.stderr.startswith(f"{tmp_path}/probe-")
