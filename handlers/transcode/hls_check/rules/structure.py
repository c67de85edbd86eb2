"""Checks of the playlists alone: they are complete, list nothing twice, and have the version that they need."""

import math
from collections import Counter
from collections.abc import Iterator

from handlers.transcode.hls_check.measure import Measured
from handlers.transcode.hls_check.playlist import Master, Media
from handlers.transcode.hls_check.report import Finding, Rule, short

LARGE_TARGET = 10
"""Seconds above which a target of more than twice the longest segment is an error: players wait and buffer by it."""


def check_master(master: Master, address: str) -> Iterator[Finding]:
    pictures = {variant.uri for variant in master.variants if not variant.audio_only}
    if len({*master.i_frame_uris}) < len(pictures):
        message = f"{len({*master.i_frame_uris})} I-frame playlists for {len(pictures)} variants"
        yield Finding(Rule.I_FRAMES, short(address), message)
    times = Counter((variant.uri, variant.groups) for variant in master.variants)
    for uri in dict.fromkeys(uri for (uri, _), count in times.items() if count > 1):
        yield Finding(Rule.REPEATED, short(uri), "the variant is listed more than once")
    for uri, count in Counter(master.i_frame_uris).items():
        if count > 1:
            yield Finding(Rule.REPEATED, short(uri), "the I-frame playlist is listed more than once")


def check_version(where: str, media: Media) -> Iterator[Finding]:
    if media.version < media.needed:
        message = f"#EXT-X-VERSION is {media.version}, {media.feature} needs {media.needed}"
        yield Finding(Rule.VERSION, where, message)


def check_media(one: Measured) -> Iterator[Finding]:
    where, media = short(one.variant.uri), one.media
    yield from check_version(where, media)
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
        message = f"{len(long)} segments above {media.target} s, the first {short(long[0].uri)}"
        yield Finding(Rule.TARGET_DURATION, where, message)
    longest = max((segment.duration for segment in media.segments), default=0.0)
    if media.target > max(LARGE_TARGET, 2 * longest):
        yield Finding(Rule.TARGET_DURATION, where, f"it is {media.target} s, the longest segment {longest:.3f} s")
