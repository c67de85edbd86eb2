"""Checks of a variant's attributes in the master playlist against the contents of its segments."""

from collections.abc import Iterator

from handlers.transcode.hls_check.measure import Measured
from handlers.transcode.hls_check.playlist import Variant
from handlers.transcode.hls_check.report import Finding, Rule, short
from handlers.transcode.hls_check.stream.packets import Coding
from handlers.transcode.hls_check.stream.parameters import Parameters
from handlers.transcode.hls_check.stream.segment import Contents

BANDWIDTH_TOLERANCE = 0.10
"""Share by which a declared bit rate may differ from the measured one: Apple's authoring rules for VOD say 10 %."""
RATE_TOLERANCE = 0.05
"""Share by which a declared frame rate may differ from the measured one: 29.97 may be called 30, 25 may not."""
PIXELS = 2
"""Pixels that a declared size may differ by: encoders take even sizes, and a display width is rounded."""
_SUBTITLES = ("stpp", "wvtt")
"""Codecs of subtitles, which have playlists of their own."""
_FAMILIES = {"avc3": "avc1", "hev1": "hvc1", "dvhe": "hvc1", "dvh1": "hvc1", "ec+3": "ec-3"}


def check_declared(one: Measured) -> Iterator[Finding]:
    """Compare what the master playlist declares of a variant with what is inside."""
    variant = one.variant
    wanted: dict[str, object] = {
        "BANDWIDTH": variant.bandwidth,
        "AVERAGE-BANDWIDTH": variant.average_bandwidth,
        "CODECS": variant.codecs,
    }
    if not variant.audio_only:
        wanted |= {"RESOLUTION": variant.resolution, "FRAME-RATE": variant.frame_rate}
    if missing := [name for name, value in wanted.items() if not value]:
        yield Finding(Rule.ATTRIBUTES, short(variant.uri), f"without {', '.join(missing)}")
    yield from check_bandwidth(one)
    if intact := [inside for inside in one.seen.values() if not inside.damage]:
        yield from _check_codecs(one, intact)
        yield from _check_resolution(variant, intact)
        yield from _check_frame_rate(variant, intact)


def check_bandwidth(one: Measured, rule: Rule = Rule.BANDWIDTH) -> Iterator[Finding]:
    """Compare both rates. Packagers differ: the peak may be that of the RFC's window or of the fullest segment."""
    checks = (
        ("BANDWIDTH", one.variant.bandwidth, (one.peak, one.fullest)),
        ("AVERAGE-BANDWIDTH", one.variant.average_bandwidth, (one.average,)),
    )
    for name, declared, measured in checks:
        if declared and not any(abs(declared - rate) <= rate * BANDWIDTH_TOLERANCE for rate in measured):
            yield Finding(rule, short(one.variant.uri), f"{name} {declared}, measured {measured[0]}")


def _check_codecs(one: Measured, segments: list[Contents]) -> Iterator[Finding]:
    """Check that each coding inside is declared, and that each declared one is inside or in the alternate audio."""
    declared = [codec.strip() for codec in one.variant.codecs.split(",") if codec.strip()]
    if not declared:
        return
    where, unseen = short(one.variant.uri), [*declared]
    names = {inside.parameters.codec for inside in segments if inside.parameters}
    sounds = {inside.sound.value for inside in segments if inside.sound}
    pictures = {inside.picture.value for inside in segments if inside.picture} if not names else set()
    for name in sorted({*names, *sounds, *pictures} - {Coding.OTHER.value}):
        named = [codec for codec in declared if is_declared(codec, name)]
        if not named:
            yield Finding(Rule.CODECS, where, f"inside is {name}, declared {one.variant.codecs}")
            # A wrong name of a coding is reported once, not also as one that is missing.
            named = [codec for codec in declared if _family(codec) == _family(name)]
        unseen = [codec for codec in unseen if codec not in named]
    unknown = any(inside.unknown or Coding.OTHER in {inside.picture, inside.sound} for inside in segments)
    has_alternate_audio = bool(one.alternate_audio)
    empty = [
        codec for codec in unseen if not codec.startswith(_SUBTITLES) and not (has_alternate_audio and _is_audio(codec))
    ]
    if empty and not unknown and not (one.variant.audio_group and all(_is_audio(codec) for codec in empty)):
        yield Finding(Rule.CODECS, where, f"declared {','.join(empty)}, and no segment that was read has it")


def is_declared(declared: str, inside: str) -> bool:
    """Compare two codec names by profile and level. Packagers write the constraint flags in many ways."""
    if _family(declared) != _family(inside):
        return False
    mine, theirs = declared.lower().split("."), inside.lower().split(".")
    if _family(inside) == Coding.AVC and len(theirs) > 1:
        # An old form is decimal: avc1.77.30.
        plain = f"{int(mine[1]):02x}..{int(mine[2]):02x}" if len(mine) == 3 and _numbers(mine[1:]) else mine[-1]
        return len(plain) == 6 and (plain[:2], plain[4:]) == (theirs[1][:2], theirs[1][4:])  # three bytes
    if _family(inside) == Coding.HEVC and len(theirs) > 1:
        return len(mine) > 3 and (mine[1], mine[3]) == (theirs[1], theirs[3])  # profile, compatibility, level
    return True


def _numbers(words: list[str]) -> bool:
    return all(word.isascii() and word.isdecimal() and len(word) < 4 for word in words)  # a byte's digits


def _family(codec: str) -> str:
    first = codec.partition(".")[0].lower()
    return _FAMILIES.get(first, first)


def _is_audio(codec: str) -> bool:
    return codec.lower().startswith(("mp4a", "ac-3", "ec-3", "ac-4", "flac", "opus", "alac"))


def _check_resolution(variant: Variant, segments: list[Contents]) -> Iterator[Finding]:
    """Compare the declared size with the pictures' own, its width with or without the sample aspect ratio."""
    width, _, height = variant.resolution.lower().partition("x")
    found = {inside.parameters for inside in segments if inside.parameters}

    def fits(one: Parameters) -> bool:
        near = any(abs(own - int(width)) <= PIXELS for own in (one.width, one.shown))
        return near and abs(one.height - int(height)) <= PIXELS

    wrong = [one for one in found if not (_numbers([width[:3], height[:3]]) and fits(one))]
    if variant.resolution and wrong:
        sizes = ", ".join(sorted({f"{one.width}x{one.height}" for one in wrong}))
        yield Finding(Rule.RESOLUTION, short(variant.uri), f"declared {variant.resolution}, inside is {sizes}")


def _check_frame_rate(variant: Variant, segments: list[Contents]) -> Iterator[Finding]:
    """Compare the frame rates. RFC 8216, 4.3.4.2 wants the highest: the median or that of the closest two pictures."""
    rhythms = [inside.rhythm for inside in segments if inside.rhythm]
    if not (variant.frame_rate and rhythms):
        return
    fields = 2 if any(inside.parameters and inside.parameters.fields for inside in segments) else 1
    median = max(1 / one.median for one in rhythms)
    rates = {median, max(1 / one.shortest for one in rhythms), *(1 / one.median for one in rhythms)}
    if not any(
        abs(variant.frame_rate * times - rate) <= rate * RATE_TOLERANCE for rate in rates for times in {1, fields}
    ):
        message = f"declared {variant.frame_rate:.3f}, measured {median:.3f} pictures a second"
        yield Finding(Rule.FRAME_RATE, short(variant.uri), message)
