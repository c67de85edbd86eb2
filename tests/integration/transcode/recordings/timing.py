"""Finds flashes and beeps in what was made, the ends of its tracks, and which moments of the source are in it."""

import asyncio
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.integration.transcode.recordings.recording import BITS, FLASH, TICK
from tests.integration.transcode.source_clips import TIMEOUT

WIDTH, HEIGHT = 32, 18
"""Pixels to which pictures are scaled: four for each bar."""
HZ = 48_000
WHITE = 150
"""Mean of the upper half from which the picture flashes. The moving picture has 45."""
BLOCK = HZ // 200
"""Samples over which the loudest is taken: 5 ms."""
BEEP_SHARE = 0.12
"""Of the loudest sample, from which a beep is heard."""
CALM = 40
"""Blocks without a beep before one begins."""
PRIMING = 0.03
"""Seconds by which sound in a transport stream may begin before its picture, without anything in it."""
AUDIBLE = 0.004
"""Amplitude from which something is heard. The quiet tone of any mix is louder."""


@dataclass(frozen=True, slots=True)
class Track:
    """When a track of an output begins and ends, in seconds of the output."""

    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Played:
    """An output as it plays. Times are seconds from its beginning."""

    flashes: list[float]
    beeps: list[float]
    tracks: list[Track]
    shown: list[tuple[float, float]]
    """When each picture is shown, and the time of the source that its bars tell."""
    silences: list[tuple[float, float]]
    """Spans of a quarter of a second and more in which nothing is heard."""
    size: tuple[int, int]

    @property
    def lasts(self) -> float:
        """The seconds from the first to the last, without the packet of silence that an encoder of AAC begins with."""
        first, *_ = begins = sorted(track.begin for track in self.tracks)
        return max(track.end for track in self.tracks) - (begins[-1] if begins[-1] - first < PRIMING else first)

    @property
    def frame(self) -> float:
        """The seconds for which each picture is shown."""
        return (self.shown[-1][0] - self.shown[0][0]) / (len(self.shown) - 1)

    @property
    def offsets(self) -> list[float]:
        """Seconds by which each beep comes after its flash."""
        return [beep - flash for flash, beep in zip(self.flashes, self.beeps, strict=True)]


async def measure_source(path: Path) -> tuple[float, float]:
    """Return when the picture of a source begins and when its sound ends, in seconds from its beginning."""
    described = await _describe(path)
    zero = float(described["format"]["start_time"])
    tracks = {
        one["codec_type"]: _packet_times(described, int(one["index"]), zero) for one in described["streams"][::-1]
    }
    return tracks["video"][0][0], max(begin + lasts for begin, lasts in tracks["audio"])


async def play(path: Path, folder: Path, *, quarter_turns: int = 0, zero: float | None = None) -> Played:
    """Decode a file or playlist to its end, and turn its pictures counterclockwise to read them.

    Times count from `zero` on the file's clock; without it, from the first track.
    """
    described = await _describe(path)
    video = next(one for one in described["streams"] if one["codec_type"] == "video")
    start = float(described["format"]["start_time"])
    zero = start if zero is None else zero
    packets = {int(one["index"]): _packet_times(described, int(one["index"]), zero) for one in described["streams"]}
    times = [time for time, _ in packets[int(video["index"])]]
    frames, sound = await _decode(path, folder, quarter_turns, has_sound=len(described["streams"]) > 1)
    assert abs(len(frames) - len(times)) <= 1, (len(frames), len(times), "pictures that cannot be decoded")
    times = times[: len(frames)]
    upper = frames[:, : HEIGHT // 2, :].mean(axis=(1, 2)) > WHITE
    flashes = [times[at] for at in range(1, len(times)) if upper[at] and not upper[at - 1]]
    loudest = np.abs(sound[: len(sound) // BLOCK * BLOCK]).reshape(-1, BLOCK).max(axis=1) if len(sound) else sound
    return Played(
        flashes=flashes,
        beeps=[float(beep + start - zero) for beep in _beeps(loudest)],
        tracks=[Track(one[0][0], max(begin + lasts for begin, lasts in one)) for one in packets.values() if one],
        shown=list(zip(times, _read_bars(frames), strict=True)),
        silences=_silences(loudest),
        size=(int(video["width"]), int(video["height"])),
    )


def _beeps(loudest: NDArray[np.float32]) -> list[float]:
    if not len(loudest):
        return []
    loud = loudest > BEEP_SHARE * loudest.max()
    return [at * BLOCK / HZ for at in np.flatnonzero(loud) if not loud[max(0, at - CALM) : at].any()]


def _silences(loudest: NDArray[np.float32]) -> list[tuple[float, float]]:
    edges = np.flatnonzero(loudest > AUDIBLE) * BLOCK / HZ
    bounds = [0.0, *edges, len(loudest) * BLOCK / HZ]
    return [(float(begin), float(end)) for begin, end in pairwise(bounds) if end - begin > float(FLASH) / 2]


def _read_bars(frames: NDArray[np.uint8]) -> list[float]:
    """Read the time of the source from the bars of each picture."""
    across = WIDTH // BITS
    lower = frames[:, HEIGHT * 5 // 8 : HEIGHT * 7 // 8, :].mean(axis=1)
    bits = [lower[:, bit * across + 1 : (bit + 1) * across - 1].mean(axis=1) > WHITE for bit in range(BITS)]
    found = []
    for number in range(len(frames)):
        value = 0
        for bit in reversed(range(BITS)):
            value = value << 1 | (int(bits[bit][number]) ^ (value & 1))
        found.append(float(value * TICK))
    return found


async def _describe(path: Path) -> dict[str, Any]:
    entries = (
        "packet=stream_index,pts_time,duration_time:stream=index,codec_type,width,height,start_time:format=start_time"
    )
    return dict(json.loads(await run("ffprobe", "-v", "error", "-show_entries", entries, "-of", "json", str(path))))


def _packet_times(described: dict[str, Any], index: int, zero: float) -> list[tuple[float, float]]:
    """List when each packet of a track is shown, and for how long, in the order of time."""
    found = [one for one in described["packets"] if one["stream_index"] == index and "pts_time" in one]
    times = sorted((float(one["pts_time"]) - zero, float(one.get("duration_time", 0))) for one in found)
    # A segment's last picture does not say how long it lasts.
    typical = sorted(lasts for _, lasts in times)[len(times) // 2] if times else 0.0
    return [(begin, lasts or typical) for begin, lasts in times]


async def _decode(
    path: Path, folder: Path, quarter_turns: int, *, has_sound: bool
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    frames_path, sound_path = folder / "frames", folder / "sound"
    turns = "transpose=cclock," * quarter_turns
    picture = f"{turns}scale={WIDTH}:{HEIGHT}:flags=area,format=gray,settb=1/1000,setpts=N"
    argv = ["-nostdin", "-v", "error", "-y", "-i", str(path), "-map", "0:v:0", "-vf", picture]
    argv += ["-fps_mode", "passthrough", "-enc_time_base", "1:1000", "-f", "rawvideo", str(frames_path)]
    if has_sound:
        argv += ["-map", "0:a:0", "-af", "aresample=async=1:first_pts=0", "-ac", "1", "-ar", str(HZ)]
        argv += ["-f", "f32le", str(sound_path)]
    await run("ffmpeg", *argv)
    frames = np.frombuffer(frames_path.read_bytes(), np.uint8).reshape(-1, HEIGHT, WIDTH)
    sound = np.frombuffer(sound_path.read_bytes() if has_sound else b"", np.float32)
    return frames, sound


async def run(program: str, *arguments: str) -> bytes:
    """Return what a program printed. Fails when it says that something is wrong."""
    process = await asyncio.create_subprocess_exec(
        program, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(TIMEOUT):
        out, stderr = await process.communicate()
    assert (process.returncode, stderr) == (0, b""), stderr.decode()
    return out
