"""Many channels become two without clipping, and with every voice."""

import pytest

from handlers.transcode.planning.downmix import MUTE, gains
from handlers.transcode.probing.audio_track import channels_of


def factor(gain: float) -> float:
    return 10 ** (gain / 20) if gain > MUTE else 0.0


@pytest.mark.parametrize(
    "layout",
    ["2.1", "3.0", "4.0", "quad", "5.0", "5.1", "5.1(side)", "6.1", "7.1", "7.1(wide)", "4 channels (FL+FR+LFE+BC)"],
)
def test_full_scale_on_all_channels_does_not_clip(layout: str) -> None:
    names = channels_of(layout)
    left, right = gains(layout, len(names))
    assert sum(map(factor, left)) == pytest.approx(1, abs=0.01)
    assert sum(map(factor, right)) == pytest.approx(1, abs=0.01)
    for name, pair in zip(names, zip(left, right, strict=True), strict=True):
        assert (max(pair) == MUTE) is (name == "LFE"), f"{name} is heard"


def test_the_mix_of_5_1_follows_the_recommendation() -> None:
    assert gains("5.1", 6) == ((-7.66, MUTE, -10.67, MUTE, -10.67, MUTE), (MUTE, -7.66, -10.67, MUTE, MUTE, -10.67))


def test_channels_of_an_unknown_layout_go_to_both_sides() -> None:
    assert gains("", 16) == ((-24.08,) * 16,) * 2
    assert gains("", 16, heard=(4,)) == ((0.0,) * 16,) * 2, "a single voice is as loud as it was"
    assert gains("", 4, heard=(0, 1)) == ((-6.02,) * 4,) * 2


@pytest.mark.parametrize(("layout", "channels"), [("stereo", 2), ("mono", 1), ("", 2)])
def test_nothing_is_mixed_of_two_channels(layout: str, channels: int) -> None:
    assert gains(layout, channels) == ()
