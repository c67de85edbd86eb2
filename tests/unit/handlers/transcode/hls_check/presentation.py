"""A small presentation that conforms, and how to break it."""

import re
import subprocess
from itertools import pairwise
from pathlib import Path

from handlers.transcode.ffmpeg import transport_stream
from handlers.transcode.hls_check.conformance import check
from handlers.transcode.hls_check.playlist import parse_media
from handlers.transcode.hls_check.report import Report
from handlers.transcode.hls_check.source import FolderSource
from handlers.transcode.packaging.playlists import PlaylistEntry, i_frame_playlist

SIZES = {"low": "64x36", "high": "128x72"}
CODECS = {"low": "avc1.64000a", "high": "avc1.64000a"}
AVC = ("-c:v", "libx264", "-sc_threshold", "0")
PACKAGE = ("-f", "hls", "-hls_time", "6", "-hls_playlist_type", "vod", "-hls_segment_filename")


def encode(
    folder: Path,
    name: str,
    size: str,
    gop: int = 50,
    *,
    seconds: tuple[float, float] = (14, 14),
    codec: tuple[str, ...] = AVC,
) -> None:
    """Encode a variant of 25 pictures a second. Pictures and sound may differ in length."""
    picture, sound = seconds
    inputs = ["-f", "lavfi", "-i", f"testsrc2=s={size}:r=25:d={picture}"]
    inputs += ["-f", "lavfi", "-i", f"sine=d={sound}"] if sound else []
    codecs = [*codec, "-g", str(gop), "-keyint_min", str(gop), "-c:a", "aac"]
    output = [str(folder / f"{name}_%d.ts"), str(folder / f"{name}.m3u8")]
    subprocess.run(
        ["ffmpeg", "-nostdin", "-v", "error", "-y", *inputs, *codecs, *PACKAGE, *output], check=True, timeout=60
    )


def write_i_frames(folder: Path, name: str) -> str:
    """Write the I-frame playlist of a variant; return the attributes that a master lists it with."""
    entries: list[PlaylistEntry] = []
    media = parse_media((folder / f"{name}.m3u8").read_text())
    for segment in media.segments:
        inside = transport_stream.inspect((folder / segment.uri).read_bytes())
        ends = [frame.time for frame in inside.keyframes] + [inside.keyframes[0].time + segment.duration]
        entries += [
            PlaylistEntry(segment.uri, end - begin, frame.size, frame.offset, inside.header)
            for frame, (begin, end) in zip(inside.keyframes, pairwise(ends), strict=True)
        ]
    (folder / f"{name}_iframes.m3u8").write_text(i_frame_playlist(entries))
    peak = max(entry.size * 8 / entry.duration for entry in entries)
    return f'BANDWIDTH={peak:.0f},URI="{name}_iframes.m3u8"'


def write_master(folder: Path) -> None:
    lines = ["#EXTM3U", "#EXT-X-VERSION:6"]
    for name, size in SIZES.items():
        segments = parse_media((folder / f"{name}.m3u8").read_text()).segments
        sizes = [(folder / segment.uri).stat().st_size for segment in segments]
        peak = max(bytes_ * 8 / segment.duration for bytes_, segment in zip(sizes, segments, strict=True))
        average = sum(sizes) * 8 / sum(segment.duration for segment in segments)
        lines += [
            (
                f"#EXT-X-STREAM-INF:BANDWIDTH={peak:.0f},AVERAGE-BANDWIDTH={average:.0f},RESOLUTION={size},"
                f'FRAME-RATE=25.000,CODECS="{CODECS[name]},mp4a.40.2"'
            ),
            f"{name}.m3u8",
            f"#EXT-X-I-FRAME-STREAM-INF:{write_i_frames(folder, name)}",
        ]
    (folder / "master.m3u8").write_text("\n".join(lines) + "\n")


async def report_of(folder: Path) -> Report:
    return await check(FolderSource(folder), str((folder / "master.m3u8").resolve()))


def edit(path: Path, pattern: str, replacement: str) -> None:
    changed, count = re.subn(pattern, replacement, path.read_text(), count=1)
    assert count
    path.write_text(changed)
