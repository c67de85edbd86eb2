"""What one variant turns out to be: the sizes of its segments, what is in them, and the bit rates that follow."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from handlers.transcode.hls_check.playlist import Media, Variant, parse_media
from handlers.transcode.hls_check.rules.rates import average, fullest, peak
from handlers.transcode.hls_check.source import Source
from handlers.transcode.hls_check.stream.segment import Contents, FirstPicture, contents

LOOKED_AT = 200
"""Segments of one variant that a sample looks into, evenly spread; the sizes of all others are asked for alone."""
READ_WHOLE = 40
"""Segments of one variant that a sample reads to their end: all of four minutes, a fifteenth of an hour."""
HEAD = 64 * 1024
"""Bytes of a segment that are looked at: tables, parameter sets and the beginning of the first picture."""
WHOLE = 32 * 1024 * 1024
"""Bytes of one segment that are gone through at most: four times what 6 s at 8.5 Mbit/s have."""
PARALLEL = 4
"""Segments in memory at a time: 128 MiB, and once more what is being put together."""


type Place = tuple[str, int | None, int | None]
"""Address, offset and size of a segment, the latter two where the playlist says them."""
type Looked = tuple[int, Contents | None]
"""How many bytes it has, and what is in them if they were read."""


@dataclass(frozen=True, slots=True)
class Depth:
    """How many segments of a variant are read whole, and how many at their beginning; None is all."""

    whole: int | None
    heads: int | None


FULL = Depth(None, None)
SAMPLE = Depth(READ_WHOLE, LOOKED_AT)


@dataclass(frozen=True, slots=True)
class Measured:
    """One variant. `sizes` are bytes, one for each segment; `seen` is what is in those that were looked into.

    `addresses` are where the segments lie. `beside` is the largest of the sounds that may be played with it instead
    of its own: its rates count too (RFC 8216, 4.3.4.2).
    """

    variant: Variant
    media: Media
    sizes: tuple[int, ...]
    seen: dict[int, Contents]
    addresses: tuple[str, ...]
    beside: "Measured | None" = None

    @property
    def pictures(self) -> dict[int, FirstPicture | None]:
        """What those segments begin with that were looked into."""
        return {number: one.first for number, one in self.seen.items()}

    @property
    def sounding(self) -> bool:
        """Whether there is any sound in what was looked into."""
        return any(one.sound for one in self.seen.values())

    @property
    def examined(self) -> int:
        """Segments that were read whole."""
        return sum(one.whole for one in self.seen.values())

    @property
    def duration(self) -> float:
        """Seconds."""
        return sum(segment.duration for segment in self.media.segments)

    @property
    def average(self) -> int:
        """Bits per second over the whole variant."""
        return round(average(self._pieces())) + (self.beside.average if self.beside else 0)

    @property
    def peak(self) -> int:
        """The largest bit rate of any run of segments that lasts 0.5 to 1.5 target durations (RFC 8216, 4.3.4.2).

        A variant shorter than that is one run.
        """
        target = self.media.target or max((segment.duration for segment in self.media.segments), default=0)
        own = round(peak(self._pieces(), target))
        return own + (self.beside.peak if self.beside else 0) if own else self.average

    @property
    def fullest(self) -> int:
        """Bits per second of the segment that has most."""
        return round(fullest(self._pieces())) + (self.beside.fullest if self.beside else 0)

    def _pieces(self) -> Iterable[tuple[float, int]]:
        return zip((segment.duration for segment in self.media.segments), self.sizes, strict=True)


async def measure(source: Source, base: str, variant: Variant, depth: Depth = SAMPLE) -> Measured:
    """Read a variant's playlist and measure what it names. Raises SourceError and PlaylistError."""
    address = source.resolve(base, variant.uri)
    media = parse_media((await source.read(address)).decode("utf-8", errors="replace"))
    addresses = tuple(source.resolve(address, segment.uri) for segment in media.segments)
    looker = _Looker(source, media.opaque)
    wanted = _wanted(len(addresses), depth)
    # What is listed many times over is looked at once, as closely as any of its places asks for.
    places: dict[Place, int] = {}
    for number, (where, segment) in enumerate(zip(addresses, media.segments, strict=True)):
        key = (where, segment.offset, segment.size)
        places[key] = max(places.get(key, 0), wanted.get(number, 0))
    found = await looker.all(places)
    listed = [found[where, one.offset, one.size] for where, one in zip(addresses, media.segments, strict=True)]
    return Measured(
        variant,
        media,
        tuple(size for size, _ in listed),
        {number: inside for number, (_, inside) in enumerate(listed) if inside and number in wanted},
        addresses,
    )


def _wanted(count: int, depth: Depth) -> dict[int, int]:
    """How many bytes to read of each segment; of those that are not in it none."""
    heads = dict.fromkeys(spread(count, depth.heads), HEAD)
    return {**heads, **dict.fromkeys(spread(count, depth.whole), WHOLE)}


def spread(count: int, most: int | None) -> list[int]:
    """At most so many numbers below `count`, evenly spread, the first and the last among them."""
    if most is None or count <= most:
        return [*range(count)]
    return [number * (count - 1) // max(1, most - 1) for number in range(most)]


@dataclass(frozen=True, slots=True)
class _Looker:
    source: Source
    opaque: bool

    async def all(self, places: dict[Place, int]) -> dict[Place, Looked]:
        """Size and contents of each; the first that cannot be read ends it."""
        waiting = iter(places.items())
        found: dict[Place, Looked] = {}

        async def work() -> None:
            for place, length in waiting:
                found[place] = await self.look(*place, length)

        tasks = [asyncio.create_task(work()) for _ in range(PARALLEL)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return found

    async def look(self, address: str, offset: int | None, size: int | None, length: int) -> Looked:
        begin = offset or 0
        wanted = 0 if self.opaque else min(length, WHOLE if size is None else size)
        data, total = await self.source.look(address, offset=begin, length=wanted)
        available = max(0, total - begin)
        own = available if size is None else min(size, available)
        if not wanted:
            return own, None
        return own, await asyncio.to_thread(contents, data, whole=len(data) == own)
