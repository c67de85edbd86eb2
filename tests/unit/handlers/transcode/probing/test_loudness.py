"""The track that is kept is one in which something is heard."""

from pathlib import Path

import pytest

from handlers.transcode.planning.ladder import plan
from handlers.transcode.planning.plan import AudioPlan
from handlers.transcode.probing.prober import Prober
from media.asset import AssetType
from tests.unit.handlers.transcode.conftest import Clip

PICTURE = "testsrc2=s=64x48:r=25:d=2"
SILENCE, VOICE = "anullsrc=cl=mono:r=48000:d=2", "sine=d=2"


def film(clip: Clip, name: str, first: str, second: str, *options: str) -> Path:
    graph = ("-f", "lavfi", "-i", second, "-map", "0", "-map", "1", "-map", "2", "-c:a", "aac")
    return clip(name, PICTURE, first, *graph, *options)


async def main_sound(prober: Prober, path: Path) -> tuple[AudioPlan, tuple[str, ...]]:
    made = plan(await prober.probe(str(path), asset_type=AssetType.VIDEO), AssetType.VIDEO)
    assert made.sound is not None
    return made.sound, made.notes


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [(SILENCE, VOICE, 2), (VOICE, SILENCE, 1), (f"{VOICE},volume=-70dB", VOICE, 2), (SILENCE, SILENCE, 1)],
    ids=["silence first", "silence second", "hiss first", "silence only"],
)
async def test_silent_track_gives_way_to_a_voice(
    prober: Prober, clip: Clip, first: str, second: str, kept: int
) -> None:
    sound, notes = await main_sound(prober, film(clip, f"tracks-{kept}-{len(first)}.mp4", first, second))
    assert sound.number == kept
    assert ("silent sound left out" in notes) is (kept == 2)


async def test_track_that_speaks_later_is_not_silent(prober: Prober, clip: Clip) -> None:
    late = "sine=d=20,volume='gte(t,14)':eval=frame"
    path = film(clip, "late.mkv", late, "sine=d=20", "-t", "20", "-c:a", "pcm_s16le", "-ar", "8000")
    assert (await main_sound(prober, path))[0].number == 1


async def test_track_without_content_gives_way_to_a_voice(prober: Prober, clip: Clip) -> None:
    """As a recorder leaves it whose first microphone was never opened: a header without samples."""
    path = film(clip, "empty.mp4", VOICE, VOICE)
    data = bytearray(path.read_bytes())
    begin = data.index(b"soun")
    for table in (b"stts", b"stsc", b"stsz", b"stco"):
        at = data.index(table, begin)
        data[at : at + 4] = b"free"
    path.write_bytes(data)
    assert (await main_sound(prober, path))[0].number == 2


async def test_silent_language_is_no_alternative(prober: Prober, clip: Clip) -> None:
    tags = ("-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=ger")
    path = film(clip, "languages.mp4", SILENCE, VOICE, *tags)
    made = plan(await prober.probe(str(path), asset_type=AssetType.VIDEO), AssetType.VIDEO)
    assert made.sound is not None
    assert (made.sound.number, made.sound.language, made.alternate_audio) == (2, "de", ())


async def test_voice_on_one_of_many_channels_keeps_its_level(prober: Prober, clip: Clip) -> None:
    channels = "|".join(["0"] * 11 + ["0.5*sin(2000*t)"] + ["0"] * 4)
    path = clip("desk.wav", "", f"aevalsrc='{channels}':d=1:c=hexadecagonal", "-c:a", "pcm_s16le", "-bitexact")
    data = bytearray(path.read_bytes())
    at = data.index(b"fmt ") + 28  # the mask of speakers
    data[at : at + 4] = bytes(4)
    path.write_bytes(data)
    made = plan(await prober.probe(str(path), asset_type=AssetType.AUDIO), AssetType.AUDIO)
    assert made.sound is not None
    assert (made.sound.heard, made.sound.source_layout) == ((11,), "")
    assert made.sound.gains[0][11] == 0
