"""Small clips, made by ffmpeg."""

import subprocess
from pathlib import Path

TIMEOUT = 60.0
FAST = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac")


def make(path: Path, *arguments: str, codecs: tuple[str, ...] = FAST) -> Path:
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *arguments, *codecs, str(path)]
    subprocess.run(command, check=True, timeout=TIMEOUT)
    return path


def picture(size: str, seconds: float, rate: str = "25") -> list[str]:
    return ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}:duration={seconds}"]


def sound(seconds: float) -> list[str]:
    return ["-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}"]
