"""Sources of every common kind, made by ffmpeg: a picture turns white and a tone begins at the same time."""

import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

TIMEOUT = 120.0
EVENT = 1.0
"""Seconds until the picture turns white and the tone begins."""
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
AAC = ("-c:a", "aac")
UPRIGHT = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
QUARTER_TURN = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)


def run_ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, arguments)], check=True, timeout=TIMEOUT)


@dataclass(frozen=True)
class Clip:
    """A source, and its expected output: the largest picture, its rate, the channels of its audio."""

    name: str
    width: int
    height: int
    fps: Fraction = Fraction(25)
    seconds: float = 3.0
    size: str = ""
    rate: str = ""
    suffix: str = "mp4"
    channels: int = 1
    sound: str = "mono"
    codecs: tuple[str, ...] = (*H264, *AAC)
    filters: str = ""
    after: Callable[[Path], None] | None = None
    everyday: bool = False
    gap: int = 1
    """Most frames between two pictures of the source. The duration of the last picture is not known."""

    def make(self, folder: Path) -> Path:
        path = folder / f"{self.name}.{self.suffix}"
        picture = f"color=c=black:s={self.size or f'{self.width}x{self.height}'}:r={self.rate or self.fps}"
        picture += f":d={self.seconds},drawbox=x=0:y=0:w=iw:h=ih:c=white:t=fill:enable='gte(t,{EVENT})'"
        # Noise, so that there is something to encode and no two frames are alike.
        picture += ",noise=alls=12:allf=t" + (f",{self.filters}" if self.filters else "")
        command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", picture]
        if self.channels:
            tone = "|".join([f"0.4*sin(880*PI*t)*gte(t,{EVENT})"] * _source_channels(self.sound))
            command += ["-f", "lavfi", "-i", f"aevalsrc='{tone}':s=48000:d={self.seconds}:c={self.sound}"]
        subprocess.run([*command, *self.codecs, str(path)], check=True, timeout=TIMEOUT)
        if self.after:
            self.after(path)
        return path

    def __str__(self) -> str:
        return self.name


def _source_channels(layout: str) -> int:
    return {"mono": 1, "stereo": 2, "5.1": 6}[layout]


def turn(path: Path) -> None:
    """Write a display matrix of 90 degrees to the first track (ISO/IEC 14496-12, 8.3.2)."""
    data = path.read_bytes()
    at = data.index(UPRIGHT, data.index(b"tkhd"))
    path.write_bytes(data[:at] + QUARTER_TURN + data[at + len(UPRIGHT) :])


NTSC, FILM = Fraction(30000, 1001), Fraction(24000, 1001)
LANGUAGES = (
    *("-map", "0:v", "-map", "1:a", "-map", "1:a", *H264, *AAC),
    *("-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=ger", "-disposition:a:1", "0"),
)
HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error", *AAC)
HEVC_10 = (*HEVC, "-pix_fmt", "yuv420p10le")
MJPEG = ("-c:v", "mjpeg", "-q:v", "3", "-c:a", "pcm_s16le")
VARIABLE = r"select='lt(t\,1.2)+not(mod(n\,3))'"
VFR = ("-fps_mode", "vfr", *H264, *AAC)
YUV444 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv444p", *AAC)

CLIPS = [
    # Those of the default run are each of several kinds. The kinds one by one follow, for `-m matrix`.
    Clip("29.97-fps-surround", 320, 180, fps=NTSC, seconds=7, channels=2, sound="5.1", everyday=True),
    Clip("odd-mjpeg", 320, 180, size="321x181", suffix="avi", codecs=MJPEG, everyday=True),
    Clip("anamorphic-10-bit-hevc", 320, 180, size="240x180", filters="setsar=4/3", codecs=HEVC_10, everyday=True),
    Clip(
        "portrait-by-rotation-variable-rate",
        180,
        320,
        size="320x180",
        filters=VARIABLE,
        codecs=VFR,
        after=turn,
        everyday=True,
        gap=3,
    ),
    Clip("landscape", 320, 180, seconds=8),
    Clip("portrait-by-rotation", 180, 320, size="320x180", after=turn),
    Clip("portrait-by-size", 180, 320),
    Clip("square", 240, 240),
    Clip("odd", 320, 180, size="321x181", codecs=YUV444),
    Clip("ultra-wide", 640, 120),
    Clip("two-rungs", 640, 360),
    Clip("whole-ladder", 1920, 1080, fps=Fraction(30), seconds=8),
    Clip("23.976-fps", 320, 180, fps=FILM),
    Clip("29.97-fps", 320, 180, fps=NTSC, seconds=7),
    Clip("60-fps", 320, 180, fps=Fraction(60)),
    Clip("120-fps", 320, 180, fps=Fraction(60), rate="120", everyday=True),
    Clip("2-fps", 320, 180, fps=Fraction(6), rate="2"),
    Clip("variable-rate", 320, 180, filters=VARIABLE, codecs=VFR, gap=3),
    Clip("interlaced", 320, 180, codecs=("-flags", "+ilme+ildct", "-x264-params", "tff=1", *H264, *AAC)),
    Clip("silent", 320, 180, channels=0),
    Clip("stereo", 320, 180, channels=2, sound="stereo"),
    Clip("surround", 320, 180, channels=2, sound="5.1"),
    Clip("two-languages", 320, 180, codecs=LANGUAGES),
    Clip("anamorphic", 320, 180, size="240x180", filters="setsar=4/3"),
    Clip("10-bit-hevc", 320, 180, codecs=HEVC_10),
    Clip("hevc", 320, 180, codecs=(*HEVC, "-pix_fmt", "yuv420p")),
    Clip("vp9", 320, 180, suffix="webm", codecs=("-c:v", "libvpx-vp9", "-deadline", "realtime", "-c:a", "libopus")),
    Clip("mpeg4-part-2", 320, 180, suffix="avi", codecs=("-c:v", "mpeg4", "-q:v", "3", "-c:a", "libmp3lame")),
    Clip("mjpeg", 320, 180, suffix="avi", codecs=MJPEG),
    Clip("mpeg-ts", 320, 180, suffix="ts"),
    Clip("matroska", 320, 180, suffix="mkv"),
]
