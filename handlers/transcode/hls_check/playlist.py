"""A reader of HLS playlists, master and media, as far as the checks need. Pure."""

import re
from dataclasses import dataclass
from itertools import pairwise

MAX_SEGMENTS = 100_000
"""Segments that one playlist may name: an I-frame playlist of more than a day, at a picture a second."""
ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^,]*)')


class PlaylistError(Exception):
    """The text is no playlist, or one whose numbers cannot be read."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One `EXT-X-STREAM-INF`. Bandwidths are bits per second; an attribute that is not declared is None or empty."""

    uri: str
    bandwidth: int | None
    average_bandwidth: int | None
    codecs: str
    resolution: str
    frame_rate: float | None
    audio_only: bool
    audio_group: str = ""
    groups: tuple[str, ...] = ()
    """The groups of audio, video, subtitles and captions. Only with other groups may an address be listed again."""


@dataclass(frozen=True, slots=True)
class IFrames:
    """One `EXT-X-I-FRAME-STREAM-INF`. Bandwidths are bits per second."""

    uri: str
    bandwidth: int | None = None
    average_bandwidth: int | None = None


@dataclass(frozen=True, slots=True)
class Alternative:
    """One `EXT-X-MEDIA` of type AUDIO. Without `uri` it stands for the sound in the variants themselves."""

    group: str
    name: str
    language: str
    default: bool
    autoselect: bool
    uri: str


@dataclass(frozen=True, slots=True)
class Master:
    """A master playlist."""

    variants: tuple[Variant, ...]
    i_frames: tuple[IFrames, ...]
    alternatives: tuple[Alternative, ...] = ()
    version: int = 1

    @property
    def i_frame_uris(self) -> tuple[str, ...]:
        return tuple(one.uri for one in self.i_frames)


@dataclass(frozen=True, slots=True)
class Segment:
    """`duration` in seconds; `size` in bytes and `offset` only where the playlist gives a byte range."""

    uri: str
    duration: float
    size: int | None = None
    offset: int | None = None
    discontinuity: bool = False
    """Whether the clock may restart with this segment."""


@dataclass(frozen=True, slots=True)
class Media:
    """A media playlist. It declares `version` and needs at least version `needed`, because of `feature`."""

    target: int | None
    segments: tuple[Segment, ...]
    ended: bool
    i_frames_only: bool
    init_uri: str | None
    encrypted: bool
    version: int = 1
    needed: int = 1
    feature: str = ""

    @property
    def opaque(self) -> bool:
        """Whether its segments are encrypted or in another container: they are not looked into."""
        return bool(self.init_uri) or self.encrypted


def is_master(text: str) -> bool:
    return "#EXT-X-STREAM-INF" in text


def parse_master(text: str) -> Master:
    """Parse a master playlist. Raises PlaylistError."""
    lines = _lines(text)
    variants: list[Variant] = []
    i_frames: list[IFrames] = []
    alternatives: list[Alternative] = []
    for line, following in pairwise([*lines, "#"]):
        attributes = _attributes(line) if line.startswith("#EXT-X-") else {}
        if line.startswith("#EXT-X-STREAM-INF:"):
            if following.startswith("#"):
                raise PlaylistError("a #EXT-X-STREAM-INF is followed by no address")
            codecs = [codec.strip() for codec in attributes.get("CODECS", "").split(",") if codec.strip()]
            variant = Variant(
                uri=following,
                bandwidth=_optional(attributes.get("BANDWIDTH")),
                average_bandwidth=_optional(attributes.get("AVERAGE-BANDWIDTH")),
                codecs=attributes.get("CODECS", ""),
                resolution=attributes.get("RESOLUTION", ""),
                frame_rate=_number(attributes["FRAME-RATE"]) if "FRAME-RATE" in attributes else None,
                audio_only=bool(codecs) and all(codec.startswith(("mp4a", "ac-3", "ec-3")) for codec in codecs),
                audio_group=attributes.get("AUDIO", ""),
                groups=tuple(attributes.get(name, "") for name in ("AUDIO", "VIDEO", "SUBTITLES", "CLOSED-CAPTIONS")),
            )
            variants.append(variant)
        elif line.startswith("#EXT-X-I-FRAME-STREAM-INF:") and attributes.get("URI"):
            bandwidth, average = _optional(attributes.get("BANDWIDTH")), _optional(attributes.get("AVERAGE-BANDWIDTH"))
            i_frames.append(IFrames(attributes["URI"], bandwidth, average))
        elif line.startswith("#EXT-X-MEDIA:") and attributes.get("TYPE") == "AUDIO":
            alternative = Alternative(
                group=attributes.get("GROUP-ID", ""),
                name=attributes.get("NAME", ""),
                language=attributes.get("LANGUAGE", ""),
                default=attributes.get("DEFAULT") == "YES",
                autoselect=attributes.get("AUTOSELECT") != "NO",
                uri=attributes.get("URI", ""),
            )
            alternatives.append(alternative)
    return Master(tuple(variants), tuple(i_frames), tuple(alternatives), _version(lines))


def parse_media(text: str) -> Media:
    """Parse a media playlist. Raises PlaylistError."""
    lines = _lines(text)
    target = _tag(lines, "#EXT-X-TARGETDURATION:")
    init = _tag(lines, "#EXT-X-MAP:")
    key = _tag(lines, "#EXT-X-KEY:")
    needed, feature = _needed(lines)
    return Media(
        target=None if target is None else int(_number(target)),
        segments=tuple(_segments(lines)),
        ended="#EXT-X-ENDLIST" in lines,
        i_frames_only="#EXT-X-I-FRAMES-ONLY" in lines,
        init_uri=_attributes(init).get("URI") if init else None,
        encrypted=bool(key) and _attributes(key or "").get("METHOD") != "NONE",
        version=_version(lines),
        needed=needed,
        feature=feature,
    )


def _version(lines: list[str]) -> int:
    # Without the tag it is 1.
    return int(_number(_tag(lines, "#EXT-X-VERSION:") or "1"))


def _needed(lines: list[str]) -> tuple[int, str]:
    """Find the lowest version that has all tags in these lines, and the tag that needs it (RFC 8216, 7)."""
    i_frames = "#EXT-X-I-FRAMES-ONLY" in lines
    needs = [(1, "")]
    for line in lines:
        tag, _, rest = line.partition(":")
        if tag == "#EXTINF" and "." in rest.partition(",")[0]:
            needs.append((3, "#EXTINF with a decimal point"))
        elif tag in {"#EXT-X-BYTERANGE", "#EXT-X-I-FRAMES-ONLY"}:
            needs.append((4, tag))
        elif tag == "#EXT-X-MAP":
            needs.append((5, tag) if i_frames else (6, tag))
        elif tag == "#EXT-X-KEY":
            needs.append((5, tag) if "KEYFORMAT" in rest else (2 if ",IV=" in rest else 1, tag))
    return max(needs)


def _lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or lines[0] != "#EXTM3U":
        raise PlaylistError("it does not begin with #EXTM3U")
    return lines


def _segments(lines: list[str]) -> list[Segment]:
    found: list[Segment] = []
    duration: float | None = None
    size = offset = None
    discontinuity = False
    for line in lines:
        if line == "#EXT-X-DISCONTINUITY":
            discontinuity = True
        elif line.startswith("#EXTINF:"):
            duration = _number(line.removeprefix("#EXTINF:").partition(",")[0])
        elif line.startswith("#EXT-X-BYTERANGE:"):
            length, _, start = line.removeprefix("#EXT-X-BYTERANGE:").partition("@")
            size, offset = int(_number(length)), int(_number(start)) if start else None
        elif not line.startswith("#"):
            if duration is None:
                raise PlaylistError(f"{line[:80]} has no #EXTINF")
            if len(found) == MAX_SEGMENTS:
                raise PlaylistError(f"it names more than {MAX_SEGMENTS} segments")
            if size is not None and offset is None:
                # It begins where the range before ends, of the same file (RFC 8216, 4.3.2.2).
                last = found[-1] if found else None
                if last is None or last.uri != line or last.size is None or last.offset is None:
                    raise PlaylistError(f"a range of {line[:80]} says not where it begins, and follows no other of it")
                offset = last.offset + last.size
            found.append(Segment(line, duration, size, offset, discontinuity))
            duration = size = offset = None
            discontinuity = False
    return found


def _attributes(line: str) -> dict[str, str]:
    return {name: value.strip('"') for name, value in ATTRIBUTE.findall(line.partition(":")[2] or line)}


def _tag(lines: list[str], name: str) -> str | None:
    return next((line.removeprefix(name) for line in lines if line.startswith(name)), None)


def _optional(text: str | None) -> int | None:
    return None if text is None else int(_number(text))


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise PlaylistError(f"{text[:40]!r} is no number") from error
    if not 0 <= value < 1e12:  # beyond any duration or bandwidth; NaN fails too
        raise PlaylistError(f"{text[:40]!r} is out of range")
    return value
