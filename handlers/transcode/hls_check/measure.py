"""Measurement of one variant: the sizes of its segments, their contents, and the bit rates that follow."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from handlers.transcode.hls_check.playlist import Media, Variant, parse_media
from handlers.transcode.hls_check.rules.rates import average, fullest, peak
from handlers.transcode.hls_check.source import Source
from handlers.transcode.hls_check.stream.segment import Contents, FirstPicture, contents

LOOKED_AT = 200
"""Segments of one variant that a sample looks into, evenly spread. Of all others it asks for the size alone."""
READ_WHOLE = 40
"""Segments of one variant that a sample reads to their end: all of four minutes, a fifteenth of an hour."""
HEAD = 64 * 1024
"""Bytes read of a segment's beginning: tables, parameter sets and the beginning of the first picture."""
WHOLE = 32 * 1024 * 1024
"""Bytes read of one segment at most: four times the size of 6 s at 8.5 Mbit/s."""
PARALLEL = 4
"""Segments in memory at a time: 128 MiB, and as much again while they are put together."""

type Place = tuple[str, int | None, int | None]
"""Address, offset and size of a segment; the latter two are None where the playlist does not give them."""
type Looked = tuple[int, Contents | None]
"""The size of a segment in bytes, and its contents if they were read."""


@dataclass(frozen=True, slots=True)
class Depth:
    """How many segments of a variant are read whole, and of how many the beginning; None stands for all."""

    whole: int | None
    heads: int | None


FULL = Depth(None, None)
SAMPLE = Depth(READ_WHOLE, LOOKED_AT)


@dataclass(frozen=True, slots=True)
class Measured:
    """One variant. `sizes` are the bytes of each segment; `seen` maps those that were looked into to their contents.

    `addresses` are those of the segments. `alternate_audio` is the largest track that may be played with the variant
    instead of its own sound: its rates count too (RFC 8216, 4.3.4.2).
    """

    variant: Variant
    media: Media
    sizes: tuple[int, ...]
    seen: dict[int, Contents]
    addresses: tuple[str, ...]
    alternate_audio: "Measured | None" = None

    @property
    def pictures(self) -> dict[int, FirstPicture | None]:
        """The first picture of each segment that was looked into."""
        return {number: one.first for number, one in self.seen.items()}

    @property
    def has_sound(self) -> bool:
        """Whether any segment that was looked into has sound."""
        return any(one.sound for one in self.seen.values())

    @property
    def examined(self) -> int:
        """How many segments were read whole."""
        return sum(one.whole for one in self.seen.values())

    @property
    def duration(self) -> float:
        """Seconds of the whole variant."""
        return sum(segment.duration for segment in self.media.segments)

    @property
    def average(self) -> int:
        """Bits per second over the whole variant."""
        return round(average(self._pieces())) + (self.alternate_audio.average if self.alternate_audio else 0)

    @property
    def peak(self) -> int:
        """The largest bit rate of any run of segments that lasts 0.5 to 1.5 target durations (RFC 8216, 4.3.4.2).

        Bits per second. A variant shorter than that is one run.
        """
        target = self.media.target or max((segment.duration for segment in self.media.segments), default=0)
        own = round(peak(self._pieces(), target))
        return own + (self.alternate_audio.peak if self.alternate_audio else 0) if own else self.average

    @property
    def fullest(self) -> int:
        """The largest bit rate of a single segment, in bits per second."""
        return round(fullest(self._pieces())) + (self.alternate_audio.fullest if self.alternate_audio else 0)

    def _pieces(self) -> Iterable[tuple[float, int]]:
        return zip((segment.duration for segment in self.media.segments), self.sizes, strict=True)


async def measure(source: Source, base: str, variant: Variant, depth: Depth = SAMPLE) -> Measured:
    """Read a variant's playlist and measure what it names. Raises SourceError and PlaylistError."""
    address = source.resolve(base, variant.uri)
    media = parse_media((await source.read(address)).decode("utf-8", errors="replace"))
    addresses = tuple(source.resolve(address, segment.uri) for segment in media.segments)
    # Bytes to read of each segment; none of those that are missing here.
    wanted = dict.fromkeys(spread(len(addresses), depth.heads), HEAD)
    wanted |= dict.fromkeys(spread(len(addresses), depth.whole), WHOLE)
    # A segment that is listed many times is read once, with the largest length that any of its entries asks for.
    places: dict[Place, int] = {}
    for number, (where, segment) in enumerate(zip(addresses, media.segments, strict=True)):
        key = (where, segment.offset, segment.size)
        places[key] = max(places.get(key, 0), wanted.get(number, 0))
    found = await _SegmentReader(source, media.opaque).read_all(places)
    listed = [found[where, one.offset, one.size] for where, one in zip(addresses, media.segments, strict=True)]
    return Measured(
        variant,
        media,
        tuple(size for size, _ in listed),
        {number: inside for number, (_, inside) in enumerate(listed) if inside and number in wanted},
        addresses,
    )


def spread(count: int, most: int | None) -> list[int]:
    """Choose at most `most` numbers below `count`, evenly spread, the first and the last among them."""
    if most is None or count <= most:
        return [*range(count)]
    return [number * (count - 1) // max(1, most - 1) for number in range(most)]


@dataclass(frozen=True, slots=True)
class _SegmentReader:
    source: Source
    opaque: bool

    async def read_all(self, places: dict[Place, int]) -> dict[Place, Looked]:
        """Find size and contents of each place. The first that cannot be read raises SourceError."""
        waiting = iter(places.items())
        found: dict[Place, Looked] = {}

        async def work() -> None:
            for place, length in waiting:
                found[place] = await self.read(*place, length)

        tasks = [asyncio.create_task(work()) for _ in range(PARALLEL)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return found

    async def read(self, address: str, offset: int | None, size: int | None, length: int) -> Looked:
        begin = offset or 0
        wanted = 0 if self.opaque else min(length, WHOLE if size is None else size)
        data, total = await self.source.read_range(address, offset=begin, length=wanted)
        available = max(0, total - begin)
        own = available if size is None else min(size, available)
        if not wanted:
            return own, None
        return own, await asyncio.to_thread(contents, data, whole=len(data) == own)
