"""The checks: HLS (RFC 8216) and Apple's authoring rules, measured on the segments themselves."""

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate
from urllib.parse import urlsplit

from handlers.transcode.check.alternatives import measure_sounds
from handlers.transcode.check.measure import Measured, measure
from handlers.transcode.check.playlist import Master, PlaylistError, Variant, is_master, parse_master, parse_media
from handlers.transcode.check.report import Finding, Report, Rule, VariantReport
from handlers.transcode.check.source import Source, SourceError
from handlers.transcode.check.timing import drifts

TOLERANCE = 0.10
"""Apple's authoring rules for VOD: measured bit rates within 10 % of what is declared."""
FALLBACK_FRAME = 1 / 24
"""Seconds that two variants may differ by where no frame rate is declared."""


async def check(source: Source, address: str) -> Report:
    """Reads the master playlist at `address`, measures all it names, and reports every breach."""
    try:
        text = (await source.read(address)).decode("utf-8", errors="replace")
        master = parse_master(text)
    except (SourceError, PlaylistError) as error:
        return Report((), (Finding(Rule.READABLE, _short(address), str(error)),))
    if not is_master(text):
        return Report((), (Finding(Rule.VARIANTS, _short(address), "it lists no variants"),))
    sounds = await measure_sounds(source, address, master)
    findings = [*_check_master(master, address), *sounds.findings]
    measured: list[Measured] = []
    for variant in master.variants:
        try:
            measured.append(sounds.beside(await measure(source, address, variant)))
        except (SourceError, PlaylistError) as error:
            findings.append(Finding(Rule.READABLE, _short(variant.uri), str(error)))
    findings += [finding for uri in master.i_frame_uris for finding in await _check_i_frames(source, address, uri)]
    return judge(measured, findings, [sound for group in sounds.groups.values() for sound in group])


def judge(measured: Sequence[Measured], findings: Sequence[Finding] = (), sounds: Sequence[Measured] = ()) -> Report:
    """The report on variants and sounds that were measured, with the findings on whatever else was looked at."""
    found = [*findings]
    for sound in sounds:
        found += [*_check_media(sound), *_check_length(sound, measured), *_check_durations(sound)]
    for one in measured:
        found += [*_check_attributes(one.variant), *_check_media(one), *_check_bandwidth(one), *_check_pictures(one)]
        found += _check_durations(one)
    found += _check_alignment([one for one in measured if not one.variant.audio_only])
    return Report(tuple(_report(one) for one in measured), tuple(found))


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


def _check_media(one: Measured) -> Iterator[Finding]:
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


def _check_length(sound: Measured, variants: Sequence[Measured]) -> Iterator[Finding]:
    """Played instead of a variant's own, it must not end more than a segment before or after."""
    longest = max((one.duration for one in variants), default=sound.duration)
    if abs(sound.duration - longest) > (sound.media.target or 0):
        message = f"it lasts {sound.duration:.3f} s, the variants {longest:.3f} s"
        yield Finding(Rule.SOUNDS, _short(sound.variant.uri), message)


def _check_bandwidth(one: Measured) -> Iterator[Finding]:
    """The peak may be that of the RFC's window, or of the fullest segment, however short: packagers differ."""
    checks = (
        ("BANDWIDTH", one.variant.bandwidth, (one.peak, one.fullest)),
        ("AVERAGE-BANDWIDTH", one.variant.average_bandwidth, (one.average,)),
    )
    for name, declared, measured in checks:
        if declared and not any(abs(declared - rate) <= rate * TOLERANCE for rate in measured):
            yield Finding(Rule.BANDWIDTH, _short(one.variant.uri), f"{name} {declared}, measured {measured[0]}")


def _check_pictures(one: Measured) -> Iterator[Finding]:
    if one.variant.audio_only or one.media.opaque:
        return
    bad = [one.media.segments[number] for number, picture in one.pictures.items() if picture is None or not picture.idr]
    if bad:
        message = f"{len(bad)} segments do not begin with an IDR picture, the first is {_short(bad[0].uri)}"
        yield Finding(Rule.KEY_FRAMES, _short(one.variant.uri), message)


def _check_durations(one: Measured) -> Iterator[Finding]:
    """What is in the segments must be where the playlist says, from the beginning of all to the end of all."""
    if one.media.opaque:
        return
    where = _short(one.variant.uri)
    for drift in drifts(one.media, one.seen, one.last):
        yield Finding(Rule.DURATIONS, where, f"{_short(one.media.segments[drift.segment].uri)}: {drift}")
    for kind in sorted(one.seen.get(0, {}).keys() - one.last.keys()) if one.last else ():
        yield Finding(Rule.DURATIONS, where, f"the {kind} is missing at the end")


def _check_alignment(measured: Sequence[Measured]) -> Iterator[Finding]:
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


def _starts(one: Measured) -> list[float]:
    """When each segment begins, in seconds: by its first picture where it was looked into, else by the playlist."""
    listed = accumulate((segment.duration for segment in one.media.segments), initial=0.0)
    if not all(one.pictures.values()):
        return [*listed][:-1]
    seen = {number: picture.pts for number, picture in one.pictures.items() if picture}
    # A stream's clock begins anywhere: what is only listed is counted from the first picture on.
    return [seen.get(number, time + seen.get(0, 0.0)) for number, time in enumerate([*listed][:-1])]


async def _check_i_frames(source: Source, base: str, uri: str) -> list[Finding]:
    address = source.resolve(base, uri)
    try:
        media = parse_media((await source.read(address)).decode("utf-8", errors="replace"))
        if not (media.i_frames_only and media.segments):
            return [Finding(Rule.I_FRAMES, _short(uri), "not an I-frame playlist, or an empty one")]
        first = media.segments[0]
        _, size = await source.look(source.resolve(address, first.uri), offset=0, length=1)
    except (SourceError, PlaylistError) as error:
        return [Finding(Rule.I_FRAMES, _short(uri), str(error))]
    if first.size is not None and (first.offset or 0) + first.size > size:
        return [Finding(Rule.I_FRAMES, _short(uri), "its first range lies outside of the file")]
    return []


def _report(one: Measured) -> VariantReport:
    return VariantReport(
        uri=_short(one.variant.uri),
        resolution=one.variant.resolution,
        codecs=one.variant.codecs,
        frame_rate=one.variant.frame_rate,
        segments=len(one.media.segments),
        duration=round(one.duration, 3),
        declared_bandwidth=one.variant.bandwidth,
        measured_bandwidth=one.peak,
        declared_average=one.variant.average_bandwidth,
        measured_average=one.average,
    )


def _short(address: str) -> str:
    """The last part of an address, without its query: that may hold a signature."""
    return urlsplit(address).path.rpartition("/")[2] or address[:80]
