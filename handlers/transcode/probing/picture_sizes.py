"""Finds the sizes that a film's pictures have, where a recorder may change them in the middle. Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from handlers.transcode.probing.duration import seconds
from handlers.transcode.probing.packet_scan import TrackScan

CODECS = frozenset({"h264", "hevc", "vp8", "vp9", "av1", "mpeg2video", "mpeg4"})
"""Codecs that calls and broadcasts use. Their key frames carry their own size."""
MOMENTS = 40
"""Key frames that are looked for: of an hour, one in a minute and a half."""
MOST_KEYS = 3000
"""Key frames that are decoded in a file that cannot be searched for them."""
UNSEARCHABLE = ("mpeg", "flv")
"""How ffprobe's names begin of formats in which a search for a time ends anywhere."""
LASTING_SHARE = 0.1
LASTING = 30.0
"""Share of the film, and seconds, for which a size must be there to count. The shorter of both is enough."""


@dataclass(frozen=True, slots=True)
class PictureSizes:
    """The sizes of a film. `largest` is a frame, as ffprobe describes it, of the largest size that lasts."""

    largest: Mapping[str, Any] = field(default_factory=dict)
    vary: bool = False


def choose_moments(track: TrackScan, stream: Mapping[str, Any], container: Mapping[str, Any]) -> list[float] | None:
    """Return times of key frames to look at, in seconds from the beginning; none to look at all of them.

    Returns None where the size cannot change, since it changes at a key frame alone.
    """
    keys = sorted({round(key, 3) for key in track.keys})
    if stream.get("codec_name") not in CODECS or len(keys) < 2:
        return None
    if str(container.get("format_name", "")).startswith(UNSEARCHABLE):
        return [] if len(keys) <= MOST_KEYS else None
    if len(keys) <= MOMENTS:
        return keys
    return [keys[number * (len(keys) - 1) // (MOMENTS - 1)] for number in range(MOMENTS)]


def measure_sizes(frames: Sequence[Mapping[str, Any]], *, zero: float, end: float) -> PictureSizes:
    """Read key frames in the order of time. Each size lasts until the next frame, the last one until `end`."""
    times = [(seconds(frame.get("best_effort_timestamp_time")), frame) for frame in frames]
    known = sorted(((time - zero, frame) for time, frame in times if time is not None), key=lambda one: one[0])
    lasts: dict[tuple[int, int], float] = defaultdict(float)
    found: dict[tuple[int, int], Mapping[str, Any]] = {}
    ends = [*(time for time, _ in known[1:]), end] if known else []
    for (time, frame), until in zip(known, ends, strict=True):
        size = (int(frame.get("width", 0)), int(frame.get("height", 0)))
        lasts[size] += max(0.0, until - time)
        found.setdefault(size, frame)
    enough = min(LASTING, LASTING_SHARE * sum(lasts.values()))
    lasting = [size for size in lasts if lasts[size] >= enough] or [*lasts]
    if len(lasts) < 2:
        return PictureSizes()
    return PictureSizes(found[max(lasting, key=lambda size: size[0] * size[1])], vary=True)
