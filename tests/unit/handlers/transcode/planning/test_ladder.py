import json
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from handlers.transcode.planning.ladder import plan
from handlers.transcode.planning.plan import Plan
from media.asset import AssetType
from media.errors import Code, RejectedError
from tests.unit.handlers.transcode.sources import MONO, STEREO, SURROUND, VIDEO, audio_only, source


def sizes(made: Plan) -> list[tuple[int, int]]:
    return [(rung.width, rung.height) for rung in made.rungs]


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (1920, 1080, [(480, 270), (640, 360), (960, 540), (1280, 720), (1920, 1080)]),
        (3840, 2160, [(480, 270), (640, 360), (960, 540), (1280, 720), (1920, 1080)]),
        (1080, 1920, [(270, 480), (360, 640), (540, 960), (720, 1280), (1080, 1920)]),
        (1279, 719, [(480, 270), (640, 360), (960, 540), (1278, 718)]),
        (1918, 1078, [(480, 270), (640, 360), (960, 540), (1282, 720), (1918, 1078)]),
        (1290, 726, [(480, 270), (640, 360), (960, 540), (1290, 726)]),
        (1680, 1050, [(432, 270), (576, 360), (864, 540), (1152, 720), (1680, 1050)]),
        (1138, 480, [(640, 270), (854, 360), (1138, 480)]),
        (1080, 1080, [(270, 270), (360, 360), (540, 540), (720, 720), (1080, 1080)]),
        (190, 240, [(190, 240)]),
        (191, 241, [(190, 240)]),
        (60, 100, [(60, 100)]),
        (291, 270, [(290, 270)]),
        (2560, 270, [(2560, 270)]),
        (3840, 800, [(1296, 270), (1728, 360), (2592, 540), (3456, 720), (3840, 800)]),
        (12000, 700, [(4096, 238)]),
    ],
)
def test_rungs(width: int, height: int, expected: list[tuple[int, int]]) -> None:
    assert sizes(plan(source(width, height), AssetType.VIDEO)) == expected


def test_quality_and_bitrates_of_the_full_ladder() -> None:
    rungs = plan(source(), AssetType.VIDEO).rungs
    assert [rung.qvbr for rung in rungs] == [7, 7, 7, 8, 8]
    assert [rung.max_bitrate for rung in rungs] == [400_000, 1_500_000, 3_500_000, 5_000_000, 8_500_000]


@given(st.integers(32, 8192), st.integers(32, 8192))
def test_every_rung_is_even_and_fits_and_keeps_the_aspect(width: int, height: int) -> None:
    assume(max(width, height) / min(width, height) < 100)
    made = plan(source(width, height), AssetType.VIDEO)
    for rung in made.rungs:
        assert rung.width % 2 == rung.height % 2 == 0
        assert rung.width <= width
        assert rung.height <= height
        wanted = rung.height * width / height
        assert abs(rung.width - wanted) <= 2 * max(1, width / height)
    assert Plan.from_json(made.to_json()) == made


@pytest.mark.parametrize("size", [(30, 400), (16, 16), (8000, 40)])
def test_picture_too_small_to_encode_is_rejected(size: tuple[int, int]) -> None:
    with pytest.raises(RejectedError) as caught:
        plan(source(*size), AssetType.VIDEO)
    assert caught.value.code is Code.UNSUPPORTED


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        ("24000/1001", "24000/1001"),
        ("25", "25"),
        ("60", "60"),
        ("120", "60"),
        ("120000/1001", "60000/1001"),
        ("90", "60"),
        ("5", "5"),
        ("1", "5"),
        ("2", "6"),
        ("1/10", "5"),
    ],
)
def test_frame_rates(rate: str, expected: str) -> None:
    video = replace(VIDEO, frame_rate=Fraction(rate))
    assert plan(source(video=video), AssetType.VIDEO).fps == Fraction(expected)


@pytest.mark.parametrize(("rate", "expected"), [("1", "20"), ("8", "24"), ("15", "30"), ("20", "20"), ("25", "25")])
def test_pictures_of_a_variable_rate_stay_near_their_sound(rate: str, expected: str) -> None:
    video = replace(VIDEO, frame_rate=Fraction(rate), variable_rate=True)
    assert plan(source(video=video), AssetType.VIDEO).fps == Fraction(expected)


def test_picture_that_ends_a_little_early_is_filled_up_without_a_note() -> None:
    made = plan(replace(source(), ends={0: 59.8, 1: 60.0}), AssetType.VIDEO)
    assert (made.short_picture, made.black_picture, made.local) == (True, False, False)
    assert not any("filled up" in note for note in made.notes)
    exact = plan(replace(source(), ends={0: 59.98, 1: 60.0}), AssetType.VIDEO)
    assert not exact.short_picture


def test_colors_that_are_not_named_are_those_of_the_size() -> None:
    """As players have it. The smaller rungs of HD would have those of SD."""
    hd, sd = replace(VIDEO, untagged=True), replace(VIDEO, untagged=True, coded_height=576)
    made = [plan(source(video=video), AssetType.VIDEO).assumed_color for video in (hd, sd, VIDEO)]
    assert made == ["bt709", "smpte170m", ""]


def test_sound_that_begins_seconds_late_is_made_here() -> None:
    (track,) = source().audio
    made = [plan(replace(source(), audio=(replace(track, begins=late),)), AssetType.VIDEO) for late in (0.5, 1.5)]
    assert [one.local for one in made] == [False, True]


def test_damaged_or_open_ended_sources_are_made_here() -> None:
    for change in ({"damaged": True}, {"open_end": True}):
        assert plan(replace(source(), **change), AssetType.VIDEO).local  # type: ignore[arg-type] # booleans


@pytest.mark.parametrize(
    ("duration", "at"),
    [(3600.0, 360_000), (60.0, 6000), (8.0, 1000), (2.0, 1000), (1.5, 750), (0.04, 0), (0.5, 250)],
)
def test_poster_time(duration: float, at: int) -> None:
    poster = plan(source(duration=duration), AssetType.VIDEO).poster
    assert poster is not None
    assert poster.at == at
    assert (poster.width, poster.height) == (1920, 1080)


@pytest.mark.parametrize(
    ("duration", "begins", "ends", "numbers"),
    [
        (60.0, 0.0, 60.0, (1, 2, 3, 4, 5, 6, 7, 8, 9, 0)),
        (8.0, 0.0, 8.0, (1, 2, 3, 4, 5, 6, 7, 0)),
        (2.0, 0.0, 2.0, (1, 0)),
        (0.04, 0.0, 0.04, (0,)),
        # The picture ends at 3 s: what fills it up to 60 s is not looked at.
        (60.0, 0.0, 3.0, (1, 2, 0)),
        # It begins at 30 s: what fills it up before is the last resort.
        (60.0, 30.0, 60.0, (6, 7, 8, 9, 0, 1, 2, 3, 4, 5)),
        # Too little of it for two steps: the one in its middle.
        (60.0, 55.0, 60.0, (1, 0)),
    ],
)
def test_poster_candidates_are_spread_over_the_picture(
    duration: float, begins: float, ends: float, numbers: tuple[int, ...]
) -> None:
    video = replace(VIDEO, begins=begins)
    poster = plan(replace(source(duration=duration, video=video), ends={video.index: ends}), AssetType.VIDEO).poster
    assert poster is not None
    assert poster.order == numbers
    assert all(poster.at * number < ends * 1000 for number in numbers)


def test_audio_bitrates_and_channels() -> None:
    assert plan(source(audio=()), AssetType.VIDEO).sound is None
    stereo = plan(source(), AssetType.VIDEO).sound
    assert stereo is not None
    assert (stereo.channels, stereo.sample_rate, stereo.bitrate, stereo.downmix) == (2, 48_000, 128_000, False)
    mono = plan(source(audio=(MONO,)), AssetType.VIDEO).sound
    assert mono is not None
    assert (mono.channels, mono.bitrate) == (1, 64_000)
    surround = plan(source(audio=(SURROUND,)), AssetType.VIDEO)
    assert surround.sound is not None
    assert surround.sound.downmix
    assert "6 channels mixed down to stereo" in surround.notes


def test_default_audio_track_is_the_main_audio() -> None:
    first = replace(STEREO, default=False, language="fra")
    second = replace(STEREO, number=2, index=2)
    made = plan(source(audio=(first, second)), AssetType.VIDEO)
    assert made.sound is not None
    assert (made.sound.number, made.sound.language) == (2, "en")
    assert [(other.number, other.language) for other in made.alternate_audio] == [(1, "fr")]
    assert "also in fr" in str(made)
    assert not [note for note in made.notes if "kept" in note]


def test_each_language_is_kept_once() -> None:
    languages = ("eng", "ger", "deu", "eng", None, "fre")
    tracks = tuple(replace(STEREO, number=n, language=one, default=n == 1) for n, one in enumerate(languages, 1))
    made = plan(source(audio=tracks), AssetType.VIDEO)
    assert [(other.number, other.language) for other in made.alternate_audio] == [(2, "de"), (6, "fr")]
    assert "3 of 6 sound tracks kept" in made.notes
    assert Plan.from_json(made.to_json()) == made


def test_mixes_of_one_language_are_not_alternate_audio() -> None:
    tracks = tuple(replace(STEREO, number=n, language=None) for n in (1, 2, 3))
    made = plan(source(audio=tracks), AssetType.VIDEO)
    assert made.alternate_audio == ()
    assert "1 of 3 sound tracks kept" in made.notes


def test_number_of_languages_is_limited() -> None:
    codes = ("eng", "ger", "fre", "spa", "ita", "por", "dut", "swe", "fin", "pol", "cze")
    tracks = tuple(replace(STEREO, number=n, language=one, default=n == 1) for n, one in enumerate(codes, 1))
    made = plan(source(audio=tracks), AssetType.VIDEO)
    assert len(made.alternate_audio) == 7
    assert "8 of 11 sound tracks kept" in made.notes


def test_unreadable_audio_is_left_out() -> None:
    french = replace(STEREO, number=2, codec="alac", language="fra", default=False)
    unknown = replace(french, number=3, codec="unknown", channels=0)
    made = plan(source(audio=(STEREO, french, unknown)), AssetType.VIDEO)
    assert made.sound is not None
    assert (made.sound.number, made.alternate_audio) == (1, ())
    assert {"1 of 3 sound tracks kept", "sound coded as alac left out"} <= {*made.notes}
    assert "sound coded as something unknown left out" in made.notes


def test_audio_asset_has_no_rungs() -> None:
    made = plan(audio_only(), AssetType.AUDIO)
    assert (made.rungs, made.poster, made.renditions) == ((), None, ("hls", "m4a"))
    with pytest.raises(RejectedError) as caught:
        plan(replace(audio_only(), audio=()), AssetType.AUDIO)
    assert caught.value.code is Code.NO_AUDIO


def test_video_without_a_picture_is_rejected() -> None:
    with pytest.raises(RejectedError) as caught:
        plan(audio_only(), AssetType.VIDEO)
    assert caught.value.code is Code.NO_VIDEO


def test_other_asset_types_raise_value_error() -> None:
    with pytest.raises(ValueError, match="document"):
        plan(source(), AssetType.DOCUMENT)


def test_plan_is_printable_and_survives_json() -> None:
    video = replace(VIDEO, rotation=90, variable_rate=True, frame_rate=Fraction(30), hdr=True, interlaced=True)
    made = plan(source(1080, 1920, video=video, audio=(SURROUND,)), AssetType.VIDEO)
    assert Plan.from_json(made.to_json()) == made
    assert str(made).startswith("270x480, 360x640, 540x960, 720x1280, 1080x1920 at 30 fps; AAC 2 ch 128 kbit/s; 60 s;")
    assert "HDR mapped to BT.709" in str(made)
    with pytest.raises(ValidationError):
        Plan.from_json("{}")


def test_alternate_audio_is_stored_under_its_old_name() -> None:
    made = plan(source(audio=(STEREO, replace(STEREO, index=2, number=2, language="ger"))), AssetType.VIDEO)
    stored = json.loads(made.to_json())
    assert [one["language"] for one in stored["others"]] == ["de"]
    assert Plan.model_validate(stored) == made
