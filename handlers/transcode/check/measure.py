"""What one variant turns out to be: the sizes of its segments, what they begin with, and the bit rates that follow."""

import asyncio
from dataclasses import dataclass

from handlers.transcode.check.playlist import Media, Segment, Variant, parse_media
from handlers.transcode.check.segment import FirstPicture, first_picture
from handlers.transcode.check.source import Source
from handlers.transcode.check.timing import Spans, spans

LOOKED_AT = 200
"""Segments of one variant that are looked into, evenly spread; the sizes of all others are asked for alone."""
HEAD = 64 * 1024
"""Bytes of a segment that are looked at: tables, parameter sets and the beginning of the first picture."""
WHOLE = 32 * 1024 * 1024
"""Bytes of the last segment, which is looked at from end to end: four times what 6 s at 8.5 Mbit/s have."""
PARALLEL = 8


@dataclass(frozen=True, slots=True)
class Measured:
    """One variant. `sizes` are bytes, one for each segment; `pictures` what those begin with that were looked into.
    `seen` says when tracks begin in them, `last` when they end in the last one (nothing, where it was not read whole).

    `beside` is the largest of the sounds that may be played with it instead of its own: its rates count too
    (RFC 8216, 4.3.4.2).
    """

    variant: Variant
    media: Media
    sizes: tuple[int, ...]
    pictures: dict[int, FirstPicture | None]
    seen: dict[int, Spans]
    last: Spans
    beside: "Measured | None" = None

    @property
    def duration(self) -> float:
        """Seconds."""
        return sum(segment.duration for segment in self.media.segments)

    @property
    def average(self) -> int:
        """Bits per second over the whole variant."""
        own = round(sum(self.sizes) * 8 / self.duration) if self.duration else 0
        return own + (self.beside.average if self.beside else 0)

    @property
    def peak(self) -> int:
        """The largest bit rate of any run of segments that lasts 0.5 to 1.5 target durations (RFC 8216, 4.3.4.2).

        A variant shorter than that is one run.
        """
        target = self.media.target or max((segment.duration for segment in self.media.segments), default=0)
        peak = 0.0
        for begin in range(len(self.sizes)):
            duration = size = 0.0
            for segment, length in zip(self.media.segments[begin:], self.sizes[begin:], strict=True):
                duration, size = duration + segment.duration, size + length
                if duration > 1.5 * target:
                    break
                if duration >= 0.5 * target:
                    peak = max(peak, size * 8 / duration)
        return round(peak) + (self.beside.peak if self.beside else 0) if peak else self.average

    @property
    def fullest(self) -> int:
        """Bits per second of the segment that has most."""
        pairs = zip(self.media.segments, self.sizes, strict=True)
        own = max((size * 8 / segment.duration for segment, size in pairs if segment.duration), default=0.0)
        return round(own) + (self.beside.fullest if self.beside else 0)


async def measure(source: Source, base: str, variant: Variant) -> Measured:
    """Read a variant's playlist and measure what it names. Raises SourceError and PlaylistError."""
    address = source.resolve(base, variant.uri)
    media = parse_media((await source.read(address)).decode("utf-8", errors="replace"))
    step = max(1, len(media.segments) // LOOKED_AT)
    room = asyncio.Semaphore(PARALLEL)

    async def look(segment: Segment, length: int) -> tuple[bytes, int]:
        async with room:
            return await source.look(source.resolve(address, segment.uri), offset=segment.offset or 0, length=length)

    def wanted(number: int, segment: Segment) -> int:
        if number == len(media.segments) - 1 and not media.opaque:
            return min(WHOLE, segment.size or WHOLE)
        return min(HEAD, segment.size or HEAD) if number % step == 0 else 1

    tasks = [
        asyncio.create_task(look(segment, wanted(number, segment))) for number, segment in enumerate(media.segments)
    ]
    try:
        found = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    sizes = tuple(
        total if segment.size is None else min(segment.size, max(0, total - (segment.offset or 0)))
        for segment, (_, total) in zip(media.segments, found, strict=True)
    )
    heads = {number: data for number, (data, _) in enumerate(found) if number % step == 0}
    whole = bool(sizes) and len(found[-1][0]) == sizes[-1]
    return Measured(
        variant,
        media,
        sizes,
        {number: first_picture(data) for number, data in heads.items()},
        {number: spans(data[:HEAD]) for number, data in heads.items()},
        await asyncio.to_thread(spans, found[-1][0]) if whole else {},
    )
