"""Decodes outputs and finds the events of the sources in them: the white picture, the tone, and the end."""

import asyncio
import math
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from tests.integration.transcode.source_clips import TIMEOUT

SIDE = 16
"""Pixels of the square to which frames are scaled."""
IN_SYNC = 0.04
"""Seconds by which picture and tone may be apart."""
HZ = 48_000


@dataclass(frozen=True, slots=True)
class Playback:
    """One file as it plays. Seconds; `tone` is None without sound."""

    frames: int
    duration: float
    white: float
    tone: float | None

    @property
    def offset(self) -> float:
        """Seconds by which the tone comes after the picture."""
        return 0.0 if self.tone is None else self.tone - self.white


async def play(path: Path, fps: Fraction, folder: Path, *, sound: bool, trusted: bool = True) -> Playback:
    """Decode a file or playlist to its end. Fails on any message of the decoder, unless not `trusted`."""
    # A late track is filled with silence or repeated pictures, so that indices are times.
    frames_path, sound_path = folder / "frames", folder / "sound"
    picture = f"fps={fps}:start_time=0,scale={SIDE}:{SIDE}:flags=area,format=gray" if not trusted else ""
    picture = picture or f"scale={SIDE}:{SIDE}:flags=area,format=gray"
    argv = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", str(path), "-map", "0:v:0", "-vf", picture]
    argv += ["-fps_mode", "passthrough", "-f", "rawvideo", str(frames_path)]
    if sound:
        argv += ["-map", "0:a:0", "-af", "aresample=async=1:first_pts=0", "-ac", "1", "-ar", str(HZ)]
        argv += ["-f", "s16le", str(sound_path)]
    await _run(argv, trusted=trusted)
    frames = np.frombuffer(frames_path.read_bytes(), np.uint8).reshape(-1, SIDE * SIDE)
    white = int(np.argmax(frames.mean(axis=1) > 128))
    late = await _video_start(path) if trusted else 0.0
    tone = None
    if sound:
        samples = np.abs(np.frombuffer(sound_path.read_bytes(), np.int16))
        tone = int(np.argmax(samples > 2000)) / HZ
    return Playback(len(frames), len(frames) / float(fps), late + white / float(fps), tone)


async def _video_start(path: Path) -> float:
    """Return how long after the first track the picture begins; ffmpeg counts from there."""
    argv = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_type,start_time:format=start_time"]
    said = (await _run([*argv, "-of", "compact=p=0:nk=1", str(path)], trusted=True)).decode().split()
    starts = [line.split("|") for line in said]
    video = next(float(start[1]) for start in starts if start[0] == "video")
    first = min(float(start[-1]) for start in starts if start[-1] not in {"N/A", ""})
    return video - first


async def _run(argv: list[str], *, trusted: bool) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(TIMEOUT):
        out, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()
    assert not trusted or not stderr, stderr.decode()
    return out


def probe_entries(path: Path, entries: str, streams: str = "v") -> str:
    argv = ["ffprobe", "-v", "error", "-select_streams", streams, "-show_entries", entries, "-of", "default=nk=1:nw=1"]
    return subprocess.run([*argv, str(path)], check=True, timeout=TIMEOUT, capture_output=True, text=True).stdout


def within_a_frame(seconds: float, expected: float, fps: Fraction) -> bool:
    return math.isclose(seconds, expected, abs_tol=1 / float(fps) + 0.002)
