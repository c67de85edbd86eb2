"""Checks of I-frame playlists: every range lies in its file and holds a whole I-frame; the rates are as declared."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from handlers.transcode.hls_check.measure import FULL, WHOLE, Depth, Measured, spread
from handlers.transcode.hls_check.playlist import IFrames, Media, PlaylistError, Segment, Variant, parse_media
from handlers.transcode.hls_check.report import Finding, Rule, short
from handlers.transcode.hls_check.rules.declared import check_bandwidth
from handlers.transcode.hls_check.rules.structure import check_version
from handlers.transcode.hls_check.source import Source, SourceError
from handlers.transcode.hls_check.stream.segment import Contents, contents


@dataclass(frozen=True, slots=True)
class _Files:
    """The segments of all variants by address: the contents of those that were read, and the sizes in bytes."""

    inside: Mapping[str, Contents]
    sizes: Mapping[str, int]


async def check_i_frames(
    source: Source, base: str, listed: Sequence[IFrames], measured: Sequence[Measured], depth: Depth = FULL
) -> list[Finding]:
    """Check all playlists that are `listed`. The segments of `measured` variants are not read again."""
    files = _Files(
        {
            one.addresses[number]: one.seen[number]
            for one in measured
            for number in _unranged(one)
            if number in one.seen and one.seen[number].whole
        },
        {one.addresses[number]: one.sizes[number] for one in measured for number in _unranged(one)},
    )
    found: list[Finding] = []
    for uri, one in {one.uri: one for one in listed}.items():
        try:
            found += await _check(source, base, one, files, depth)
        except (SourceError, PlaylistError) as error:
            found.append(Finding(Rule.I_FRAMES, short(uri), str(error)))
    return found


def _unranged(one: Measured) -> list[int]:
    """List the segments that are files of their own."""
    return [number for number, segment in enumerate(one.media.segments) if segment.size is None]


async def _check(source: Source, base: str, one: IFrames, files: _Files, depth: Depth) -> list[Finding]:
    address = source.resolve(base, one.uri)
    media = parse_media((await source.read(address)).decode("utf-8", errors="replace"))
    if not (media.i_frames_only and media.segments):
        return [Finding(Rule.I_FRAMES, short(one.uri), "not an I-frame playlist, or an empty one")]
    addresses = [source.resolve(address, frame.uri) for frame in media.segments]
    sizes = dict(files.sizes)
    for where in addresses:
        if where not in sizes:
            _, sizes[where] = await source.read_range(where, offset=0, length=0)
    lengths = [sizes[where] if frame.size is None else frame.size for where, frame in _pairs(addresses, media)]
    found = [*check_version(short(one.uri), media)]
    for number, (where, frame) in enumerate(_pairs(addresses, media)):
        if frame.size is not None and (frame.offset or 0) + frame.size > sizes[where]:
            message = f"range {number} lies outside of {short(frame.uri)}"
            found.append(Finding(Rule.I_FRAME_RANGES, short(one.uri), message))
            break
    # A map in front of transport packets names a part of a segment; a map for another container names its own file.
    is_transport = not media.init_uri or media.init_uri in {frame.uri for frame in media.segments}
    if not found and is_transport and not media.encrypted:
        found += await _check_ranges(source, one, media, addresses, files, depth)
    variant = Variant(one.uri, one.bandwidth, one.average_bandwidth, "", "", None, audio_only=False)
    rates = Measured(variant, media, tuple(lengths), {}, ())
    return [*found, *check_bandwidth(rates, Rule.I_FRAME_BANDWIDTH)]


def _pairs(addresses: list[str], media: Media) -> Iterator[tuple[str, Segment]]:
    return zip(addresses, media.segments, strict=True)


async def _check_ranges(
    source: Source, one: IFrames, media: Media, addresses: list[str], files: _Files, depth: Depth
) -> list[Finding]:
    """Check that each range holds an I-frame. Ranges of segments that were not read whole are read here."""
    chosen = {*spread(len(addresses), depth.whole)}
    empty: list[int] = []
    for number, (where, frame) in enumerate(_pairs(addresses, media)):
        begin, size = frame.offset or 0, frame.size
        if where in files.inside:
            inside = files.inside[where]
            holds = any(
                begin <= picture.begin and (size is None or picture.end <= begin + size) for picture in inside.intra
            )
        elif number in chosen:
            data, _ = await source.read_range(where, offset=begin, length=min(size or WHOLE, WHOLE))
            inside = contents(data, whole=False)
            holds = bool(inside.intra)
        else:
            continue
        if not holds and (inside.judged or not inside.picture):
            empty.append(number)
    if not empty:
        return []
    message = f"{len(empty)} ranges hold no whole I-frame, the first is number {empty[0]}"
    return [Finding(Rule.I_FRAME_RANGES, short(one.uri), message)]
