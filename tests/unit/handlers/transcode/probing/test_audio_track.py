"""The choice of audio tracks."""

from dataclasses import replace

import pytest

from handlers.transcode.planning.ladder import plan
from handlers.transcode.probing.audio_track import AudioTrack, choose_main_audio, select_audio
from media.asset import AssetType
from tests.unit.handlers.transcode.sources import STEREO, source

ENGLISH = replace(STEREO, default=False)
DTS = replace(STEREO, codec="dts", default=True)
GERMAN = replace(STEREO, number=2, index=2, language="ger", default=False)
AGAIN = replace(STEREO, number=3, index=3, default=False)
SILENT = replace(STEREO, channels=0, default=True)


@pytest.mark.parametrize(
    ("tracks", "number"),
    [
        ((ENGLISH, GERMAN), 1),
        ((ENGLISH, replace(GERMAN, default=True)), 2),
        ((DTS, GERMAN), 2),
        ((DTS, GERMAN, AGAIN), 3),
        ((SILENT, GERMAN), 2),
        ((replace(ENGLISH, codec="unknown"), GERMAN), 2),
    ],
    ids=["first", "default", "the readable one", "of the same language", "not the silent one", "a known one"],
)
def test_main_audio_is_the_default_track_that_can_be_decoded(tracks: tuple[AudioTrack, ...], number: int) -> None:
    chosen = choose_main_audio(tracks)
    assert chosen is not None
    assert chosen.number == number


def test_unreadable_track_is_returned_only_without_a_readable_one() -> None:
    assert choose_main_audio([DTS]) == DTS
    assert select_audio([DTS]) == ()
    assert choose_main_audio([SILENT]) is None


def test_first_track_of_each_language_is_kept() -> None:
    assert select_audio([ENGLISH, GERMAN, AGAIN]) == (ENGLISH, GERMAN)
    assert select_audio([replace(ENGLISH, language=None), GERMAN]) == (replace(ENGLISH, language=None),)


def test_track_after_an_unreadable_one_is_also_numbered_among_all_tracks() -> None:
    doubtful = plan(source(audio=(DTS, GERMAN)), AssetType.VIDEO).sound
    plain = plan(source(audio=(ENGLISH, GERMAN, replace(DTS, number=3))), AssetType.VIDEO).sound
    assert doubtful is not None
    assert plain is not None
    assert (doubtful.number, doubtful.stream) == (2, 3)
    assert (plain.number, plain.stream) == (1, None)


@pytest.mark.parametrize(("picture", "sound"), [(60.0, 60.03), (60.0, 59.8), (60.0, 60.0)])
def test_tracks_that_end_a_little_apart_are_not_filled_up(picture: float, sound: float) -> None:
    made = plan(replace(source(duration=max(picture, sound)), ends={0: picture, 1: sound}), AssetType.VIDEO)
    assert made.sound is not None
    assert (made.short_picture, made.sound.short) == (False, False)


def test_shorter_track_is_filled_up_and_the_poster_shows_the_film() -> None:
    tail = plan(replace(source(duration=60.0), ends={0: 3.0, 1: 60.0}), AssetType.VIDEO)
    assert tail.sound is not None
    assert tail.poster is not None
    assert (tail.short_picture, tail.sound.short, tail.poster.at) == (True, False, 1000)
    early = plan(replace(source(duration=60.0), ends={0: 60.0, 1: 3.0}), AssetType.VIDEO)
    assert early.sound is not None
    assert early.poster is not None
    assert (early.short_picture, early.sound.short, early.poster.at) == (False, True, 6000)
