"""Playlists that ffmpeg 5.1 does not write: I-frame playlists and a master with measured rates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from deploy.local.mediaconvert.planned import GroupPlan, OutputPlan, Video
from handlers.transcode.ffmpeg import transport_stream
from handlers.transcode.hls_check.playlist import parse_media

AAC_LC = "mp4a.40.2"


@dataclass(frozen=True, slots=True)
class MediaSegment:
    """One segment: the file of ffmpeg, its public name, seconds, bytes, and its contents."""

    path: Path
    name: str
    duration: float
    size: int
    inside: transport_stream.WrittenSegment


@dataclass(frozen=True, slots=True)
class Rendition:
    """One variant stream that ffmpeg wrote."""

    plan: OutputPlan
    segments: tuple[MediaSegment, ...]

    @property
    def file_name(self) -> str:
        return f"{_base(self.plan.name)}.m3u8"

    @property
    def iframe_file_name(self) -> str:
        return f"{_base(self.plan.name)}_I-Frame.m3u8"

    @property
    def duration(self) -> float:
        return sum(segment.duration for segment in self.segments)

    @property
    def average_bitrate(self) -> int:
        return round(sum(segment.size for segment in self.segments) * 8 / self.duration)


def read_rendition(plan: OutputPlan, folder: Path) -> Rendition:
    """Read the playlist that ffmpeg wrote and all its segments. Raises ValueError, PlaylistError."""
    segments = []
    for segment in parse_media((folder / f"{plan.local}.m3u8").read_text()).segments:
        path = folder / segment.uri
        data = path.read_bytes()
        name = _base(plan.name) + path.name.removeprefix(plan.local)
        segments.append(MediaSegment(path, name, segment.duration, len(data), transport_stream.inspect(data)))
    if not segments:
        raise ValueError(f"{plan.name} has no segments")
    return Rendition(plan, tuple(segments))


def media_playlist(rendition: Rendition) -> str:
    """Write the variant's playlist, with public names."""
    lines = _head(3, max(segment.duration for segment in rendition.segments))
    for segment in rendition.segments:
        lines += [f"#EXTINF:{segment.duration:.6f},", quote(segment.name)]
    return _text([*lines, "#EXT-X-ENDLIST"])


def iframe_playlist(rendition: Rendition) -> str:
    """Write every key frame as a byte range of its segment. A map holds the tables that a decoder needs before it."""
    times = _iframe_durations(rendition)
    lines = [*_head(5, max(times)), "#EXT-X-I-FRAMES-ONLY"]
    durations = iter(times)
    for segment in rendition.segments:
        if segment.inside.keyframes:
            lines.append(f'#EXT-X-MAP:URI="{quote(segment.name)}",BYTERANGE="{segment.inside.header}@0"')
        for frame in segment.inside.keyframes:
            lines += [f"#EXTINF:{next(durations):.6f},", f"#EXT-X-BYTERANGE:{frame.size}@{frame.offset}"]
            lines.append(quote(segment.name))
    return _text([*lines, "#EXT-X-ENDLIST"])


def master_playlist(group: GroupPlan, renditions: Sequence[Rendition]) -> str:
    """Write the group's master. BANDWIDTH is the measured peak of any segment, AVERAGE-BANDWIDTH the measured mean."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:5", "#EXT-X-INDEPENDENT-SEGMENTS"]
    for rendition in renditions:
        lines += [f"#EXT-X-STREAM-INF:{_attributes(rendition)}", quote(rendition.file_name)]
    for rendition in renditions:
        if rendition.plan.iframes:
            lines.append(f"#EXT-X-I-FRAME-STREAM-INF:{_iframe_attributes(rendition)}")
    if not renditions:
        raise ValueError(f"{group.name} has no renditions")
    return _text(lines)


def _attributes(rendition: Rendition) -> str:
    # RFC 8216, 4.3.4.2: of any run of segments between 0.5 and 1.5 target durations; a short last one is left out.
    half = max(segment.duration for segment in rendition.segments) / 2
    peak = math.ceil(max(s.size * 8 / s.duration for s in rendition.segments if s.duration >= half))
    parts = [
        f"BANDWIDTH={max(peak, rendition.average_bitrate)}",
        f"AVERAGE-BANDWIDTH={rendition.average_bitrate}",
        f'CODECS="{",".join(_codecs(rendition))}"',
    ]
    if isinstance(rendition.plan.video, Video):
        parts += [_resolution(rendition.plan.video), f"FRAME-RATE={float(rendition.plan.video.rate):.3f}"]
    return ",".join(parts)


def _iframe_attributes(rendition: Rendition) -> str:
    sizes = [frame.size for segment in rendition.segments for frame in segment.inside.keyframes]
    durations = _iframe_durations(rendition)
    peak = max(size * 8 / duration for size, duration in zip(sizes, durations, strict=True))
    video = rendition.plan.video
    if not isinstance(video, Video):
        raise TypeError("only a rendition with a picture has I-frames")
    parts = [
        f"BANDWIDTH={math.ceil(peak)}",
        f"AVERAGE-BANDWIDTH={round(sum(sizes) * 8 / sum(durations))}",
        f'CODECS="{_codecs(rendition)[0]}"',
        _resolution(video),
        f'URI="{quote(rendition.iframe_file_name)}"',
    ]
    return ",".join(parts)


def _iframe_durations(rendition: Rendition) -> list[float]:
    """List the seconds until the next key frame, for the last one until the end."""
    times = [frame.time for segment in rendition.segments for frame in segment.inside.keyframes]
    if not times:
        raise ValueError(f"{rendition.plan.name} has no key frames")
    ends = [*times[1:], times[0] + rendition.duration]
    # A clip may end within half a frame of its last key frame, and no frame may have a duration of 0.
    video = rendition.plan.video
    shortest = 1 / float(video.rate) if isinstance(video, Video) else 1.0
    return [max(end - start, shortest) for start, end in zip(times, ends, strict=True)]


def _codecs(rendition: Rendition) -> list[str]:
    codec = next((s.inside.codec for s in rendition.segments if s.inside.codec), None)
    if isinstance(rendition.plan.video, Video) and codec is None:
        raise ValueError(f"{rendition.plan.name} has no parameter sets")
    return [*([codec] if codec else []), *([AAC_LC] if rendition.plan.audio else [])]


def _resolution(video: Video) -> str:
    return f"RESOLUTION={video.picture.width}x{video.picture.height}"


def _head(version: int, longest: float) -> list[str]:
    # RFC 8216, 4.3.3.1: no segment, rounded to the nearest second, may be longer than the target.
    target = max(1, math.floor(longest + 0.5))
    return [
        "#EXTM3U",
        f"#EXT-X-VERSION:{version}",
        f"#EXT-X-TARGETDURATION:{target}",
        "#EXT-X-MEDIA-SEQUENCE:1",
        "#EXT-X-PLAYLIST-TYPE:VOD",
    ]


def _text(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"


def _base(name: str) -> str:
    return name.rpartition("/")[2]
