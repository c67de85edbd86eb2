"""When the tracks of a segment begin and end, compared with what its playlist says. Pure; in seconds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from handlers.transcode.hls_check.playlist import Media
from handlers.transcode.hls_check.stream.packets import CLOCK, StreamKind
from handlers.transcode.hls_check.stream.segment import Contents

TOLERANCE = 0.5
"""Packagers put some tenths of a second of sound into one packet, which goes whole into one segment."""
WRAP = (1 << 33) / CLOCK
"""Presentation times begin anew after 26.5 hours."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A track that is elsewhere than its playlist says: in which segment, and by how much. Positive is late."""

    segment: int
    kind: StreamKind
    what: str
    by: float

    def __str__(self) -> str:
        way = "after" if self.by > 0 else "before"
        return f"its {self.kind} {self.what} {abs(self.by):.2f} s {way} what the playlist says"


def drifts(media: Media, seen: Mapping[int, Contents]) -> Iterator[Drift]:
    """The first drift of each track: its beginnings in the segments that were `seen`, its ends in those read whole.

    Nothing is said of a presentation whose clock begins anew somewhere.
    """
    first = seen[0].spans if 0 in seen else None
    if not first or any(segment.discontinuity for segment in media.segments):
        return
    base = min(span.begin for span in first.values())
    listed = [*accumulate((segment.duration for segment in media.segments), initial=0.0)]
    for kind in sorted(first):
        yield from _drifts_of(kind, [*_times(kind, seen)], listed, base)


def _times(kind: StreamKind, seen: Mapping[int, Contents]) -> Iterator[tuple[int, float, str]]:
    """Number, time and what it is; an end is told as the next segment's beginning."""
    for number, one in sorted(seen.items()):
        if kind in one.spans:
            yield number, one.spans[kind].begin, "begins"
            if one.whole:
                yield number + 1, one.spans[kind].end, "ends"


def _drifts_of(
    kind: StreamKind, times: Sequence[tuple[int, float, str]], listed: Sequence[float], base: float
) -> Iterator[Drift]:
    for number, time, what in times:
        by = (time - base - listed[number] + WRAP / 2) % WRAP - WRAP / 2
        if abs(by) > TOLERANCE:
            yield Drift(number - (what == "ends"), kind, what, by)
            return
