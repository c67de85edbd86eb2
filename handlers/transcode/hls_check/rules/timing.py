"""Begin and end of the tracks of a segment, compared with its playlist. Pure; in seconds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

from handlers.transcode.hls_check.playlist import Media
from handlers.transcode.hls_check.stream.packets import CLOCK, StreamKind
from handlers.transcode.hls_check.stream.segment import Contents

TOLERANCE = 0.5
"""Seconds of drift that pass: packagers put some tenths of a second of sound into one packet of one segment."""
WRAP = (1 << 33) / CLOCK
"""Seconds after which presentation times restart: 26.5 hours."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A track that begins or ends elsewhere than its playlist says, `by` seconds. Positive is late."""

    segment: int
    kind: StreamKind
    what: str
    by: float

    def __str__(self) -> str:
        way = "after" if self.by > 0 else "before"
        return f"its {self.kind} {self.what} {abs(self.by):.2f} s {way} what the playlist says"


def drifts(media: Media, seen: Mapping[int, Contents]) -> Iterator[Drift]:
    """Find the first drift of each track: its begin in the segments that were `seen`, its end in those read whole.

    A presentation whose clock restarts somewhere is not compared.
    """
    first = seen[0].spans if 0 in seen else None
    if not first or any(segment.discontinuity for segment in media.segments):
        return
    base = min(span.begin for span in first.values())
    listed = [*accumulate((segment.duration for segment in media.segments), initial=0.0)]
    for kind in sorted(first):
        for number, time, what in _times(kind, seen):
            by = (time - base - listed[number] + WRAP / 2) % WRAP - WRAP / 2
            if abs(by) > TOLERANCE:
                yield Drift(number - (what == "ends"), kind, what, by)
                break


def _times(kind: StreamKind, seen: Mapping[int, Contents]) -> Iterator[tuple[int, float, str]]:
    """Yield number, time and kind of each edge. The end of a segment has the number of the next one."""
    for number, one in sorted(seen.items()):
        if kind in one.spans:
            yield number, one.spans[kind].begin, "begins"
            if one.whole:
                yield number + 1, one.spans[kind].end, "ends"
