"""Small clips, made by ffmpeg, and ffprobe's description of the outputs."""

import asyncio
import json
import re
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TIMEOUT = 60.0
"""Seconds for one program."""


def make(path: Path, *arguments: str) -> Path:
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *arguments, str(path)], check=True, timeout=TIMEOUT)
    return path


def picture(size: str, seconds: float, rate: int = 30) -> list[str]:
    return ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}:duration={seconds}"]


def sound(seconds: float) -> list[str]:
    return ["-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}"]


UPRIGHT = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
QUARTER_TURN = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)


def turned(source: Path, target: Path) -> Path:
    """Write the same clip with a display matrix of 90 degrees in its first track (ISO/IEC 14496-12, 8.3.2)."""
    data = source.read_bytes()
    at = data.index(UPRIGHT, data.index(b"tkhd"))
    target.write_bytes(data[:at] + QUARTER_TURN + data[at + len(UPRIGHT) :])
    return target


FAST = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]


async def ffprobe(path: Path, *more: str) -> dict[str, Any]:
    """Return ffprobe's output. Fails the test when the file does not decode without an error line."""
    process = await asyncio.create_subprocess_exec(
        *("ffprobe", "-v", "error", "-of", "json", "-show_streams", "-show_format", "-count_frames", *more, str(path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(TIMEOUT):
        stdout, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()
    assert not stderr, stderr.decode()
    return dict(json.loads(stdout))


def stream(probed: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(found for found in probed["streams"] if found["codec_type"] == kind)


def entries(playlist: str) -> Iterator[tuple[float, tuple[int, int] | None, str]]:
    """Yield duration, byte range as (length, offset), and address of each segment of a playlist."""
    duration, byte_range = 0.0, None
    for line in playlist.splitlines():
        if line.startswith("#EXTINF:"):
            duration = float(line[8:].rstrip(","))
        elif found := re.fullmatch(r"#EXT-X-BYTERANGE:(\d+)@(\d+)", line):
            byte_range = int(found[1]), int(found[2])
        elif line and not line.startswith("#"):
            yield duration, byte_range, line
            byte_range = None
