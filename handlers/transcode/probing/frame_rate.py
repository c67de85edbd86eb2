"""Finds the rate of a constant output at which no picture of a whole film is lost. Pure."""

from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

COMMON_RATES = tuple(
    Fraction(rate)
    for rate in ("24000/1001", "24", "25", "30000/1001", "30", "48", "50", "60000/1001", "60", "120000/1001", "120")
)
RATE_TOLERANCE = Fraction(1, 500)
"""Relative error of a rate in containers with millisecond ticks: somewhat more than half of the gap between 29.97 and
30."""
VARIABLE_TOLERANCE = Fraction(1, 100)
"""Relative difference from which two rates of one track count as different."""
TICK = 0.0021
"""Seconds by which equal gaps may differ in a container with millisecond time stamps, after two roundings."""
WINDOW = 1.0
"""Seconds over which pictures are counted. Over a second most of the jitter of a browser's recorder evens out."""
BUSY = 0.95
"""Share of the pictures that lie in windows with no more pictures than the rate shows. The rest may be a burst."""
JITTER = Fraction(1, 10)
"""Share by which more pictures may be counted in a window than the rate says."""
LOOSE = Fraction(1, 20)
"""Relative error of a rate that follows from a single gap, in milliseconds."""
ROUND_RATES = tuple(Fraction(rate) for rate in (1, 2, 5, 6, 8, 10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 120))
"""Rates that a variable one is made, in rising order."""
SLOWEST = Fraction(1, 1000)
"""Lowest rate that is told from none: one picture in a quarter of an hour."""


def choose_rate(average: Fraction | None, base: Fraction | None, times: Sequence[float]) -> tuple[Fraction, bool]:
    """Return the rate at which no picture is lost, and whether the source's own rate is variable.

    `average` is pictures over time. `base` is the lowest rate whose ticks hit every picture that was seen at the
    beginning. `times` are those of all pictures, or of the first ones where the container's index shows one rate
    throughout; none at all leaves the header alone.
    """
    # The gaps between pictures in display order, smallest first. The last four are left out (a reorder depth, twice):
    # of a part of the film, pictures that follow them in coding order, and may be shown before them, were not read.
    ordered = sorted(times)[:-4] if len(times) > 8 else sorted(times)
    gaps = sorted(after - before for before, after in pairwise(ordered) if after > before)
    if _are_uneven(gaps):
        return _busy_rate(base, times), True
    typical = gaps[len(gaps) // 2] if gaps else None
    mean = Fraction(len(gaps) / sum(gaps)) if gaps else None
    if average and mean and abs(average - mean) > average * VARIABLE_TOLERANCE:
        # In a fragmented file the last sample may last longer, which spoils the average of a short clip.
        average = None
    found = [snap(rate) for rate in (average, mean, base) if rate]
    for rate in found:
        if rate in COMMON_RATES and (typical is None or abs(1 / float(rate) - typical) <= TICK):
            return rate, False
    return next(iter(found), Fraction(25)), False


def snap(rate: Fraction) -> Fraction:
    """Return the common rate that `rate` means, else `rate` itself in small numbers."""
    nearest = min(COMMON_RATES, key=lambda common: abs(common - rate))
    return nearest if abs(nearest - rate) <= nearest * RATE_TOLERANCE else max(SLOWEST, rate.limit_denominator(1001))


def _busy_rate(base: Fraction | None, times: Sequence[float]) -> Fraction:
    """Return the rate of the film's busy parts, where it moves."""
    ordered = sorted(times)
    counts = sorted(bisect_left(ordered, time + WINDOW, begin) - begin for begin, time in enumerate(ordered))
    counted = Fraction(counts[int((len(counts) - 1) * BUSY)]) / Fraction(WINDOW)
    gaps = sorted(gap for before, after in pairwise(ordered) if 0 < (gap := after - before) < 2 / float(counted))
    typical = Fraction(1 / gaps[len(gaps) // 2]) if gaps else counted
    nearest = min(ROUND_RATES, key=lambda rate: abs(rate - typical) / rate)
    known = [snap(base) if base else None, nearest if abs(nearest - typical) <= nearest * LOOSE else None]
    for rate in known:
        if rate in {*COMMON_RATES, *ROUND_RATES} and counted * (1 - JITTER) <= rate <= counted * (1 + 2 * JITTER):
            return rate
    return next((rate for rate in ROUND_RATES if rate >= counted * (1 - JITTER)), ROUND_RATES[-1])


def _are_uneven(gaps: Sequence[float]) -> bool:
    """Tell whether more than one gap in twenty differs, or a picture stays. One lost picture makes no variable rate."""
    if len(gaps) < 2:  # one gap has nothing to differ from
        return False
    median = gaps[len(gaps) // 2]
    allowed = max(TICK, median / 10)
    off = sum(abs(gap - median) > allowed for gap in gaps)
    return off * 20 > len(gaps) or gaps[-1] > max(1.0, median * 3)
