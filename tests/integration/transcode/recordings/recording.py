"""Makes recordings as recorders write them, with flashes and beeps at known times. The same row gives the same file."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from pathlib import Path

from tests.integration.transcode.source_clips import H264, UPRIGHT, run_ffmpeg

FLASH = Fraction(1, 2)
"""Seconds for which the upper half of the picture is white, and the beep is heard."""
STILL_AROUND = 0.3
"""Seconds around each change of the flash in which times do not jitter, so that its time is known."""
FLASH_SHARE = "ih/2"
"""The upper half flashes. The lower half shows the time in bars."""
BITS, TICK = 8, Fraction(1, 10)
"""The bars count tenths of a second in Gray code: one frame can always be read."""
QUIET, LOUD = 0.03, 0.6
"""Amplitudes of the tone that is heard throughout, and of the beep."""
DEFAULT_DURATION = b"\x23\xe3\x83"
"""The element of Matroska that names the length of a frame."""
NO_DEFAULT_DURATION = b"\xec"
"""An element of Matroska without meaning."""


@dataclass(frozen=True)
class Recording:
    """One recording. `picture` and `sound` are seconds of each track, which begin late by `picture_late`, `sound_late`.

    `keep` selects the frames of a variable rate, by ffmpeg's expression; `jitter` moves each by a share of a frame.
    """

    recorder: str
    name: str
    suffix: str
    seconds: float = 10
    size: str = "192x108"
    rate: Fraction = Fraction(30)
    keep: str = ""
    jitter: float = 0.0
    picture_end: float | None = None
    sound_end: float | None = None
    picture_late: float = 0.0
    sound_late: float = 0.0
    layout: str = "mono"
    sound_rate: int = 48000
    picture_codec: tuple[str, ...] = (*H264, "-g", "60")
    sound_codec: tuple[str, ...] = ("-c:a", "aac", "-b:a", "64k")
    options: tuple[str, ...] = ()
    filters: str = ""
    after: tuple[Callable[[Path], None], ...] = ()
    maker: Callable[["Recording", Path], None] | None = None
    quarter_turns: int = 0
    """By which the picture is shown turned clockwise. It is written into an MP4's matrix."""

    def __str__(self) -> str:
        return f"{self.recorder}-{self.name}"

    @property
    def begin(self) -> float:
        """When both tracks are there."""
        return max(self.picture_late, self.sound_late)

    @property
    def end(self) -> float:
        """When the first track ends."""
        return min(self.picture_end or self.seconds, self.sound_end or self.seconds)

    @property
    def lasts(self) -> float:
        """When the last track ends."""
        return max(self.picture_end or self.seconds, self.sound_end or self.seconds)

    @property
    def events(self) -> tuple[float, float, float]:
        """The times of the flashes, in seconds of whole frames: near the start, in the middle, near the end."""
        wanted = (self.begin + 1, (self.begin + self.end) / 2, self.end - 1.2)
        start, middle, last = (float(floor(time * self.rate) / self.rate) for time in wanted)
        return (start, middle, last)

    def make(self, folder: Path) -> Path:
        """Write the file and return its path."""
        path = folder / f"{self}.{self.suffix}"
        if self.maker:
            self.maker(self, path)
        else:
            run_ffmpeg(*self.inputs(), *self.coding(), *self.options, path)
        if self.quarter_turns:
            turn(path, self.quarter_turns)
        for change in self.after:
            change(path)
        return path

    def inputs(self) -> list[str]:
        words = ["-f", "lavfi", "-i", self.picture_graph()]
        return [*words, "-f", "lavfi", "-i", self.sound_graph()] if self.sound_codec else words

    def coding(self) -> list[str]:
        timing = ["-fps_mode", "passthrough", "-enc_time_base:v", "1:90000"] if self.keep or self.jitter else []
        # ffmpeg moves the begin of each input to zero: what begins late is cut off behind that.
        if self.picture_late:
            timing += ["-vf", f"select='gte(t,{self.picture_late - 0.0001})'", "-fps_mode", "passthrough"]
        if self.sound_late:
            timing += ["-af", f"aselect='gte(t,{self.sound_late})'"]
        return [*timing, *self.picture_codec, *self.sound_codec, "-max_interleave_delta", "0"]

    def picture_graph(self) -> str:
        """Return a moving picture, dark but for the flashes and for bars that show the time."""
        # A little early, so that no rounding hides the first frame.
        early = float(1 / self.rate) / 4
        flashes = "+".join(f"between(t,{time - early:.5f},{time + float(FLASH) - early:.5f})" for time in self.events)
        steps = [f"testsrc2=s={self.size}:r={self.rate}:d={self.picture_end or self.seconds}", "lutyuv=y=val/3"]
        steps += [f"drawbox=x=0:y=0:w=iw:h={FLASH_SHARE}:c=white:t=fill:enable='{flashes}'"]
        steps += [_bar(bit) for bit in range(BITS)]
        if self.keep:
            changes = [time + add for time in self.events for add in (0, float(FLASH))]
            frame = float(1 / self.rate)
            kept = "+".join(f"between(t,{time - frame / 2:.5f},{time + frame:.5f})" for time in changes)
            steps.append(f"select='({self.keep})+{kept}+lt(n,1)'")
        if self.jitter:
            still = "+".join(
                f"between(T,{time - STILL_AROUND:.5f},{time + float(FLASH) + STILL_AROUND:.5f})" for time in self.events
            )
            by = f"(random(1)-0.5)*{self.jitter / float(self.rate):.6f}/TB"
            # The first picture stays, or all others and the sound would be moved by the muxer.
            steps += ["settb=1/90000", f"setpts='PTS+{by}*not(lt(T,0.1)+{still})'"]
        return ",".join([*steps, *([self.filters] if self.filters else [])])

    def sound_graph(self) -> str:
        """Return a quiet tone throughout, and a loud one during the flashes, on all channels."""
        loud = "+".join(f"between(t,{time:.5f},{time + float(FLASH):.5f})" for time in self.events)
        tone = f"{QUIET}*sin(2*PI*330*t)+({loud})*{LOUD}*sin(2*PI*1000*t)"
        channels = {"mono": 1, "stereo": 2, "5.1": 6, "4.0": 4, "quad": 4}[self.layout]
        lasts = self.sound_end or self.seconds
        return f"aevalsrc='{'|'.join([tone] * channels)}':s={self.sound_rate}:d={lasts}:c={self.layout}"


def _bar(bit: int) -> str:
    """Return the bar of one bit of the Gray code of the time: bit k is 1 where tenths / 2^(k+1), rounded, is odd."""
    step = float(TICK * 2 ** (bit + 1))
    shown = f"mod(floor(t/{step}+0.5),2)"
    return f"drawbox=x=iw*{bit}/{BITS}:y=ih/2:w=iw/{BITS}:h=ih/2:c=white:t=fill:enable='{shown}'"


def turn(path: Path, quarters: int) -> None:
    """Write a display matrix to the first track of an MP4 (ISO/IEC 14496-12, 8.3.2)."""
    one = 0x10000
    cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[quarters]
    matrix = struct.pack(">9i", cos * one, sin * one, 0, -sin * one, cos * one, 0, 0, 0, 0x40000000)
    data = path.read_bytes()
    at = data.index(UPRIGHT, data.index(b"tkhd"))
    path.write_bytes(data[:at] + matrix + data[at + len(UPRIGHT) :])


def without_default_duration(path: Path) -> None:
    """Make a Matroska file name no length of a frame, as browsers write it."""
    data, at = bytearray(path.read_bytes()), 0
    while (at := data.find(DEFAULT_DURATION, at)) >= 0:
        size = 4 + (data[at + 3] & 0x7F)
        data[at : at + size] = NO_DEFAULT_DURATION + bytes([0x80 | (size - 2)]) + bytes(size - 2)
    path.write_bytes(data)
