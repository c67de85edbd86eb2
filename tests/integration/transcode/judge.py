"""Decodes what was made and finds in it what the sources have: the white picture and the tone, and how long it is."""

import asyncio
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from tests.integration.transcode.cases import TIMEOUT

SIDE = 16
HZ = 48_000


@dataclass(frozen=True, slots=True)
class Played:
    """One file as it plays. Seconds; `tone` is None without sound."""

    frames: int
    duration: float
    white: float
    tone: float | None

    @property
    def offset(self) -> float:
        """By how much the tone comes after the picture."""
        return 0.0 if self.tone is None else self.tone - self.white


async def play(path: Path, fps: Fraction, folder: Path, *, sound: bool, trusted: bool = True) -> Played:
    """Decodes a file or playlist to its end; fails when the decoder has anything to say, unless not `trusted`."""
    # What begins late is filled with silence or standing pictures, so that indices are times.
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
    return Played(len(frames), len(frames) / float(fps), late + white / float(fps), tone)


async def _video_start(path: Path) -> float:
    """When the picture begins after whatever begins first; ffmpeg counts from there."""
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
        out, complaints = await process.communicate()
    assert process.returncode == 0, complaints.decode()
    assert not trusted or not complaints, complaints.decode()
    return out


def within_a_frame(seconds: float, expected: float, fps: Fraction) -> bool:
    return math.isclose(seconds, expected, abs_tol=1 / float(fps) + 0.002)
