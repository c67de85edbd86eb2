"""Checks of picture and sound inside the segments: damage, key frames, and times that match the playlist."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

from handlers.transcode.hls_check.measure import Measured
from handlers.transcode.hls_check.report import Finding, Rule, short
from handlers.transcode.hls_check.rules.timing import TOLERANCE, drifts
from handlers.transcode.hls_check.stream.packets import StreamKind

FALLBACK_FRAME = 1 / 24
"""Seconds that two variants may differ by where no frame rate is declared."""
KEY_INTERVAL = 2.0
"""Seconds between IDR pictures: a SHOULD of Apple's authoring rules, and the setting of our own HLS."""
_SLACK = 0.02
"""Seconds that an interval may be longer, for rounded time stamps."""


def check_tracks(one: Measured) -> Iterator[Finding]:
    """Check the tracks inside the segments: that they are whole, last as long as declared, and can be cut."""
    if damaged := [(number, inside.damage) for number, inside in sorted(one.seen.items()) if inside.damage]:
        message = f"{_name(one, damaged[0][0])}: {damaged[0][1]}"
        more = f" (and {len(damaged) - 1} more segments)" if len(damaged) > 1 else ""
        yield Finding(Rule.DAMAGED, short(one.variant.uri), message + more)
    yield from _check_durations(one)
    if not one.variant.audio_only:
        yield from _check_key_frames(one)
        yield from _check_interval(one)


def _name(one: Measured, number: int) -> str:
    return short(one.media.segments[number].uri)


def _check_key_frames(one: Measured) -> Iterator[Finding]:
    bad = [
        number
        for number, inside in sorted(one.seen.items())
        if (inside.judged or not inside.picture) and not (inside.first and inside.first.idr)
    ]
    if bad:
        message = f"{len(bad)} segments do not begin with an IDR picture, the first is {_name(one, bad[0])}"
        yield Finding(Rule.KEY_FRAMES, short(one.variant.uri), message)


def _check_interval(one: Measured) -> Iterator[Finding]:
    """Check the interval within each segment that was read whole, up to its end: the next one begins with an IDR."""
    for number, inside in sorted(one.seen.items()):
        times = [picture.time for picture in inside.intra if picture.key]
        if not (inside.whole and inside.judged and inside.rhythm and times) or inside.damage:
            continue
        gap = max(b - a for a, b in pairwise([*times, inside.spans[StreamKind.PICTURE].end]))
        if gap > KEY_INTERVAL + min(1.0, inside.rhythm.longest) + _SLACK:
            message = f"{_name(one, number)}: {gap:.2f} s from one IDR picture to the next"
            yield Finding(Rule.KEY_FRAME_INTERVAL, short(one.variant.uri), message)
            return


def _check_durations(one: Measured) -> Iterator[Finding]:
    """Check that each track lasts as long as the playlist says, without holes."""
    where = short(one.variant.uri)
    seen = {number: inside for number, inside in sorted(one.seen.items()) if not inside.damage}
    for drift in drifts(one.media, seen):
        yield Finding(Rule.DURATIONS, where, f"{_name(one, drift.segment)}: {drift}")
    kinds = sorted({kind for inside in seen.values() for kind in inside.spans})
    for kind in kinds:
        without = [number for number, inside in seen.items() if inside.whole and kind not in inside.spans]
        if without:
            end = "at the end" if without[-1] == len(one.sizes) - 1 else "in between"
            yield Finding(Rule.DURATIONS, where, f"the {kind} is missing {end}, first in {_name(one, without[0])}")
    holes = [(number, inside.hole) for number, inside in seen.items() if inside.hole[0] > TOLERANCE]
    if holes:
        number, (lasts, _) = holes[0]
        yield Finding(Rule.DURATIONS, where, f"{_name(one, number)}: its sound pauses for {lasts:.2f} s")


def check_length(audio: Measured, variants: Sequence[Measured]) -> Iterator[Finding]:
    """Check that alternate audio does not end more than a segment before or after the variants."""
    longest = max((one.duration for one in variants), default=audio.duration)
    if abs(audio.duration - longest) > (audio.media.target or 0):
        message = f"it lasts {audio.duration:.3f} s, the variants {longest:.3f} s"
        yield Finding(Rule.ALTERNATE_AUDIO, short(audio.variant.uri), message)


def check_alignment(measured: Sequence[Measured]) -> Iterator[Finding]:
    """Check that all variants are cut at the same times, to within a frame, by playlist and by time stamps."""
    if not measured:
        return
    first = measured[0]
    frame = 1 / first.variant.frame_rate if first.variant.frame_rate else FALLBACK_FRAME
    mine = _starts(first)
    for other in measured[1:]:
        where, theirs = short(other.variant.uri), _starts(other)
        if len(theirs) != len(mine):
            message = f"{len(theirs)} segments, {short(first.variant.uri)} has {len(mine)}"
            yield Finding(Rule.ALIGNMENT, where, message)
            continue
        off = [at for at, (a, b) in enumerate(zip(mine, theirs, strict=True)) if abs(a - b) > frame]
        if off:
            message = f"cut elsewhere than {short(first.variant.uri)} from segment {off[0]} on"
            yield Finding(Rule.ALIGNMENT, where, message)


def _starts(one: Measured) -> list[float]:
    """List when each segment begins, in seconds: by its first picture where that was read, else by the playlist."""
    listed = [*accumulate((segment.duration for segment in one.media.segments), initial=0.0)][:-1]
    if not all(one.pictures.values()):
        return listed
    seen = {number: picture.pts for number, picture in one.pictures.items() if picture}
    # A stream's clock starts anywhere, so times from the playlist are counted from the first picture on.
    return [seen.get(number, time + seen.get(0, 0.0)) for number, time in enumerate(listed)]
