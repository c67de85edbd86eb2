"""A span of a source that is transcoded alone gives the segments of the whole."""

import math
import subprocess
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest

from handlers.transcode.ffmpeg.command import arguments
from handlers.transcode.hls_check.playlist import parse_media
from handlers.transcode.hls_check.stream.segment import first_picture
from handlers.transcode.planning.plan import GOP_SECONDS, SEGMENT_SECONDS, Plan, Rung
from tests.integration.transcode.source_clips import FILM, NTSC, TIMEOUT

SIZE = (320, 180)
RUNG = Rung(name="180p", width=SIZE[0], height=SIZE[1], qvbr=7, max_bitrate=400_000)
NAME = "master_180p"


def ffmpeg(*arguments: str | Path) -> bytes:
    argv = ["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(argv, check=True, timeout=TIMEOUT, capture_output=True).stdout


def recording(path: Path, fps: Fraction, seconds: int) -> Path:
    """Make a source with an IDR picture every two seconds, as recorders write them."""
    picture = f"testsrc2=s={SIZE[0]}x{SIZE[1]}:r={fps}:d={seconds}"
    keys = ["-force_key_frames", f"expr:gte(t,n_forced*{GOP_SECONDS})", "-bf", "0"]
    ffmpeg("-f", "lavfi", "-i", picture, "-c:v", "libx264", "-preset", "ultrafast", *keys, path)
    return path


def plan_of(fps: Fraction, seconds: int) -> Plan:
    return Plan(
        rungs=(RUNG,),
        sound=None,
        fps_numerator=fps.numerator,
        fps_denominator=fps.denominator,
        duration_ms=seconds * 1000,
        poster=None,
        container="mov",
    )


def made(plan: Plan, source: Path, folder: Path) -> list[tuple[float, Path]]:
    """Return seconds and file of each segment."""
    folder.mkdir()
    argv = arguments(plan, program="ffmpeg", source=str(source))
    subprocess.run(argv, cwd=folder, check=True, timeout=TIMEOUT, capture_output=True)
    media = parse_media((folder / f"{NAME}.m3u8").read_text())
    return [(segment.duration, folder / segment.uri) for segment in media.segments]


@pytest.mark.parametrize("fps", [Fraction(25), NTSC, FILM, Fraction(60)], ids=str)
def test_segment_times_follow_from_the_plan_alone(fps: Fraction, tmp_path: Path) -> None:
    plan = plan_of(fps, 20)
    segments = made(plan, recording(tmp_path / "whole.mp4", fps, 20), tmp_path / "whole")
    begins = [0.0, *accumulate(seconds for seconds, _ in segments)][:-1]
    expected = [math.ceil(number * SEGMENT_SECONDS * plan.fps) / plan.fps for number in range(4)]
    assert begins == pytest.approx([float(one) for one in expected], abs=1e-4)


def test_span_cut_at_key_frames_gives_the_segments_of_the_whole(tmp_path: Path) -> None:
    fps = Fraction(25)
    source = recording(tmp_path / "whole.mp4", fps, 18)
    whole = made(plan_of(fps, 18), source, tmp_path / "whole")
    alone: list[tuple[float, Path]] = []
    for begin in range(0, 18, SEGMENT_SECONDS):
        span = tmp_path / f"span-{begin}.mp4"
        ffmpeg("-ss", str(begin), "-i", source, "-t", str(SEGMENT_SECONDS), "-c", "copy", span)
        alone += made(plan_of(fps, SEGMENT_SECONDS), span, tmp_path / f"made-{begin}")
    assert [seconds for seconds, _ in alone] == [seconds for seconds, _ in whole] == [SEGMENT_SECONDS] * 3
    for (_, part), (_, mine) in zip(whole, alone, strict=True):
        assert all(picture and picture.idr for picture in map(first_picture, (part.read_bytes(), mine.read_bytes())))
        shown, other = pictures(part), pictures(mine)
        assert shown.shape == other.shape == (SEGMENT_SECONDS * 25, SIZE[1], SIZE[0])
        # Encoded with another past, no two are bit for bit the same; the next picture would be off by more.
        assert np.abs(shown - other).mean() * 3 < np.abs(shown[1:] - other[:-1]).mean()


def test_stored_plan_is_enough_for_another_worker(tmp_path: Path) -> None:
    plan = plan_of(NTSC, 7)
    again = Plan.from_json(plan.to_json())
    commands = [arguments(one, program="ffmpeg", source=str(tmp_path / "span.mp4")) for one in (plan, again)]
    assert again == plan
    assert commands[0] == commands[1]


def pictures(path: Path) -> "np.ndarray[tuple[int, ...], np.dtype[np.int16]]":
    """Decode the luma of every picture of a segment."""
    data = ffmpeg("-i", path, "-vf", "extractplanes=y", "-fps_mode", "passthrough", "-f", "rawvideo", "-")
    return np.frombuffer(data, np.uint8).reshape(-1, SIZE[1], SIZE[0]).astype(np.int16)
