"""The checks: HLS (RFC 8216) and Apple's authoring rules, measured on the segments themselves."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from urllib.parse import urlsplit

from handlers.transcode.check.playlist import (
    Master,
    Media,
    PlaylistError,
    Variant,
    is_master,
    parse_master,
    parse_media,
)
from handlers.transcode.check.report import Finding, Report, Rule, VariantReport
from handlers.transcode.check.segment import FirstPicture, first_picture
from handlers.transcode.check.source import Source, SourceError

TOLERANCE = 0.10
"""Apple's authoring rules for VOD: measured bit rates within 10 % of what is declared."""
FALLBACK_FRAME = 1 / 24
"""Seconds that two variants may differ by where no frame rate is declared."""


@dataclass(frozen=True, slots=True)
class _Measured:
    """One variant, read whole: sizes in bytes and first pictures, one per segment."""

    variant: Variant
    media: Media
    sizes: tuple[int, ...]
    pictures: tuple[FirstPicture | None, ...]

    @property
    def duration(self) -> float:
        return sum(segment.duration for segment in self.media.segments)


async def check(source: Source, address: str) -> Report:
    """Reads the master playlist at `address` and all it names, one file at a time, and reports every breach."""
    try:
        text = (await source.read(address)).decode("utf-8", errors="replace")
        master = parse_master(text)
    except (SourceError, PlaylistError) as error:
        return Report((), (Finding(Rule.READABLE, _short(address), str(error)),))
    if not is_master(text):
        return Report((), (Finding(Rule.VARIANTS, _short(address), "it lists no variants"),))
    findings = [*_check_master(master, address)]
    measured: list[_Measured] = []
    for variant in master.variants:
        try:
            measured.append(await _measure(source, address, variant))
        except (SourceError, PlaylistError) as error:
            findings.append(Finding(Rule.READABLE, _short(variant.uri), str(error)))
    for one in measured:
        findings += [*_check_attributes(one.variant), *_check_media(one), *_check_bandwidth(one), *_check_pictures(one)]
    findings += _check_alignment([one for one in measured if not one.variant.audio_only])
    findings += [finding for uri in master.i_frame_uris for finding in await _check_i_frames(source, address, uri)]
    return Report(tuple(_report(one) for one in measured), tuple(findings))


async def _measure(source: Source, base: str, variant: Variant) -> _Measured:
    address = source.resolve(base, variant.uri)
    media = parse_media((await source.read(address)).decode("utf-8", errors="replace"))
    sizes: list[int] = []
    pictures: list[FirstPicture | None] = []
    for segment in media.segments:
        data = await source.read(source.resolve(address, segment.uri))
        start = segment.offset or 0
        data = data[start : start + segment.size] if segment.size is not None else data
        sizes.append(len(data))
        pictures.append(first_picture(data))
    return _Measured(variant, media, tuple(sizes), tuple(pictures))


def _check_master(master: Master, address: str) -> Iterator[Finding]:
    pictures = [variant for variant in master.variants if not variant.audio_only]
    if len(master.i_frame_uris) < len(pictures):
        message = f"{len(master.i_frame_uris)} I-frame playlists for {len(pictures)} variants"
        yield Finding(Rule.I_FRAMES, _short(address), message)


def _check_attributes(variant: Variant) -> Iterator[Finding]:
    wanted: dict[str, object] = {
        "BANDWIDTH": variant.bandwidth,
        "AVERAGE-BANDWIDTH": variant.average_bandwidth,
        "CODECS": variant.codecs,
    }
    if not variant.audio_only:
        wanted |= {"RESOLUTION": variant.resolution, "FRAME-RATE": variant.frame_rate}
    missing = [name for name, value in wanted.items() if not value]
    if missing:
        yield Finding(Rule.ATTRIBUTES, _short(variant.uri), f"without {', '.join(missing)}")


def _check_media(one: _Measured) -> Iterator[Finding]:
    where, media = _short(one.variant.uri), one.media
    if not media.ended:
        yield Finding(Rule.COMPLETE, where, "without #EXT-X-ENDLIST")
    if not media.segments or not all(one.sizes):
        yield Finding(Rule.COMPLETE, where, "no segments" if not media.segments else "empty segments")
    if media.target is None:
        yield Finding(Rule.TARGET_DURATION, where, "without #EXT-X-TARGETDURATION")
        return
    # RFC 8216, 4.3.3.1: each duration, rounded to the nearest whole second, is at most the target.
    long = [segment for segment in media.segments if math.floor(segment.duration + 0.5) > media.target]
    if long:
        message = f"{len(long)} segments above {media.target} s, the first {_short(long[0].uri)}"
        yield Finding(Rule.TARGET_DURATION, where, message)


def _check_bandwidth(one: _Measured) -> Iterator[Finding]:
    """The peak may be that of the RFC's window, or of the fullest segment, however short: packagers differ."""
    checks = (
        ("BANDWIDTH", one.variant.bandwidth, (_peak(one), _fullest(one))),
        ("AVERAGE-BANDWIDTH", one.variant.average_bandwidth, (_average(one),)),
    )
    for name, declared, measured in checks:
        if declared and not any(abs(declared - rate) <= rate * TOLERANCE for rate in measured):
            yield Finding(Rule.BANDWIDTH, _short(one.variant.uri), f"{name} {declared}, measured {measured[0]}")


def _check_pictures(one: _Measured) -> Iterator[Finding]:
    # Other containers and encrypted segments are not looked into.
    if one.variant.audio_only or one.media.init_uri or one.media.encrypted:
        return
    bad = [
        segment
        for segment, picture in zip(one.media.segments, one.pictures, strict=True)
        if picture is None or not picture.idr
    ]
    if bad:
        message = f"{len(bad)} segments do not begin with an IDR picture, the first is {_short(bad[0].uri)}"
        yield Finding(Rule.KEY_FRAMES, _short(one.variant.uri), message)


def _check_alignment(measured: Sequence[_Measured]) -> Iterator[Finding]:
    """All variants must be cut at the same instants, to within a frame, by playlist and by time stamps."""
    if not measured:
        return
    first = measured[0]
    frame = 1 / first.variant.frame_rate if first.variant.frame_rate else FALLBACK_FRAME
    for other in measured[1:]:
        where = _short(other.variant.uri)
        if len(other.media.segments) != len(first.media.segments):
            message = (
                f"{len(other.media.segments)} segments, {_short(first.variant.uri)} has {len(first.media.segments)}"
            )
            yield Finding(Rule.ALIGNMENT, where, message)
            continue
        off = [at for at, (a, b) in enumerate(zip(_starts(first), _starts(other), strict=True)) if abs(a - b) > frame]
        if off:
            yield Finding(
                Rule.ALIGNMENT, where, f"cut elsewhere than {_short(first.variant.uri)} from segment {off[0]} on"
            )


def _starts(one: _Measured) -> list[float]:
    """When each segment begins, in seconds: by its first picture where known, else by the playlist."""
    if one.pictures and all(one.pictures):
        return [picture.pts for picture in one.pictures if picture]
    return list(accumulate((segment.duration for segment in one.media.segments), initial=0.0))[:-1]


async def _check_i_frames(source: Source, base: str, uri: str) -> list[Finding]:
    address = source.resolve(base, uri)
    try:
        media = parse_media((await source.read(address)).decode("utf-8", errors="replace"))
        if not (media.i_frames_only and media.segments):
            return [Finding(Rule.I_FRAMES, _short(uri), "not an I-frame playlist, or an empty one")]
        first = media.segments[0]
        data = await source.read(source.resolve(address, first.uri))
    except (SourceError, PlaylistError) as error:
        return [Finding(Rule.I_FRAMES, _short(uri), str(error))]
    if first.size is not None and (first.offset or 0) + first.size > len(data):
        return [Finding(Rule.I_FRAMES, _short(uri), "its first range lies outside of the file")]
    return []


def _report(one: _Measured) -> VariantReport:
    return VariantReport(
        uri=_short(one.variant.uri),
        resolution=one.variant.resolution,
        codecs=one.variant.codecs,
        frame_rate=one.variant.frame_rate,
        segments=len(one.media.segments),
        duration=round(one.duration, 3),
        declared_bandwidth=one.variant.bandwidth,
        measured_bandwidth=_peak(one),
        declared_average=one.variant.average_bandwidth,
        measured_average=_average(one),
    )


def _average(one: _Measured) -> int:
    """Bits per second over the whole variant."""
    return round(sum(one.sizes) * 8 / one.duration) if one.duration else 0


def _peak(one: _Measured) -> int:
    """The largest bit rate of any run of segments that lasts 0.5 to 1.5 target durations (RFC 8216, 4.3.4.2).

    A variant shorter than that is one run.
    """
    target = one.media.target or max((segment.duration for segment in one.media.segments), default=0)
    peak = 0.0
    for begin in range(len(one.sizes)):
        duration = size = 0.0
        for segment, length in zip(one.media.segments[begin:], one.sizes[begin:], strict=True):
            duration, size = duration + segment.duration, size + length
            if duration > 1.5 * target:
                break
            if duration >= 0.5 * target:
                peak = max(peak, size * 8 / duration)
    return round(peak) or _average(one)


def _fullest(one: _Measured) -> int:
    """Bits per second of the segment that has most."""
    rates = (
        size * 8 / segment.duration
        for segment, size in zip(one.media.segments, one.sizes, strict=True)
        if segment.duration
    )
    return round(max(rates, default=0.0))


def _short(address: str) -> str:
    """The last part of an address, without its query: that may hold a signature."""
    return urlsplit(address).path.rpartition("/")[2] or address[:80]
