"""Bit rates of a run of segments, as RFC 8216 (4.3.4.2) wants them declared. Pure; bits per second."""

from collections.abc import Iterable, Iterator

FINEST = 16
"""Parts of a target duration. Shorter pieces are merged with the next ones, so that the work stays linear."""


def average(pieces: Iterable[tuple[float, int]]) -> float:
    """Return the mean rate of pieces of (seconds, bytes); 0 where they last no time."""
    listed = [*pieces]
    seconds = sum(duration for duration, _ in listed)
    return sum(size for _, size in listed) * 8 / seconds if seconds else 0.0


def peak(pieces: Iterable[tuple[float, int]], target: float) -> float:
    """Return the largest rate of a run of pieces that lasts 0.5 to 1.5 target durations; 0 where none does."""
    if not target:
        return 0.0
    merged = [*_merged(pieces, target / FINEST)]
    most = 0.0
    for begin in range(len(merged)):
        duration = size = 0.0
        for number in range(begin, len(merged)):
            duration, size = duration + merged[number][0], size + merged[number][1]
            if duration > 1.5 * target:
                break
            if duration >= 0.5 * target:
                most = max(most, size * 8 / duration)
    return most


def fullest(pieces: Iterable[tuple[float, int]]) -> float:
    """Return the largest rate of a single piece, however short."""
    return max((size * 8 / duration for duration, size in pieces if duration), default=0.0)


def _merged(pieces: Iterable[tuple[float, int]], shortest: float) -> Iterator[tuple[float, int]]:
    duration, size = 0.0, 0
    for lasts, length in pieces:
        duration, size = duration + lasts, size + length
        if duration >= shortest:
            yield duration, size
            duration, size = 0.0, 0
    if size:
        yield duration, size
