"""The rate of a whole film: slides, motion, and the jitter of browsers' recorders."""

import random
from fractions import Fraction

import pytest

from handlers.transcode.probing.frame_rate import choose_rate


def spaced(seconds: float, rate: float, begin: float = 0.0) -> list[float]:
    return [round(begin + number / rate, 3) for number in range(int(seconds * rate))]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([*spaced(25, 1), *spaced(10, 30, 25)], 30),
        ([0.0, *spaced(5, 30, 60)], 30),
        ([*spaced(600, 1), *spaced(60, 25, 600)], 25),
        ([0.0, 1000.0, 2400.0], 1),
        ([0.0, 7.0, 9.0, 60.0], 1),
        ([*spaced(20, 15), *spaced(20, 2, 20)], 15),
    ],
    ids=[
        "slides-then-motion",
        "still-then-motion",
        "long-slides",
        "three-pictures",
        "few-slides",
        "weak-camera",
    ],
)
def test_variable_rate_is_that_of_the_busy_parts(times: list[float], expected: int) -> None:
    assert choose_rate(Fraction(2), Fraction(1000), times) == (Fraction(expected), True)


@pytest.mark.parametrize("nominal", [15, 24, 25, 30, 60])
def test_jitter_of_a_recorder_does_not_change_the_rate(nominal: int) -> None:
    chance = random.Random(4)  # noqa: S311 - no secret
    times = sorted(time + chance.uniform(-0.3, 0.3) / nominal for time in spaced(20, nominal))
    assert choose_rate(Fraction(nominal) * Fraction(97, 100), Fraction(1000), times) == (Fraction(nominal), True)


def test_constant_rate_survives_rounded_times_and_a_lost_picture() -> None:
    times = spaced(60, 30000 / 1001)
    assert choose_rate(Fraction(30000, 1001), Fraction(30000, 1001), times) == (Fraction(30000, 1001), False)
    assert choose_rate(None, Fraction(30), spaced(60, 30)) == (Fraction(30), False)
    del times[40]
    assert choose_rate(Fraction(2996, 100), Fraction(30000, 1001), times) == (Fraction(30000, 1001), False)
