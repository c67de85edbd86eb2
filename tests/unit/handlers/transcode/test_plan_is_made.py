"""Unusual sources are probed, planned and made by the embedded transcoder, and the files are measured."""

import asyncio
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from PIL import Image, ImageStat

from deploy.local.mediaconvert import child, command, outputs
from deploy.local.mediaconvert.document import JobRequest
from deploy.local.mediaconvert.objects import Upload
from deploy.local.mediaconvert.plan import make_plan
from deploy.local.mediaconvert.probe import probe
from handlers.transcode.hls_check.conformance import check
from handlers.transcode.hls_check.source import FolderSource
from handlers.transcode.mediaconvert.create_job import create_job
from handlers.transcode.packaging.outputs import expected_outputs
from handlers.transcode.planning.ladder import plan
from handlers.transcode.planning.plan import Plan
from handlers.transcode.probing.prober import Prober
from media.asset import AssetType, ObjectVersion
from tests.unit.handlers.transcode.conftest import Clip, turned

SINE = "sine=d=3"
BLACK_START = "testsrc2=s={}:r={}:d=3,fade=in:d=0.5"


@dataclass(frozen=True)
class Case:
    name: str
    size: str
    options: tuple[str, ...] = ()
    rate: str = "25"
    filters: str = ""
    sound: str = SINE
    upright: bool = False
    expected: tuple[int, int] = (0, 0)


CASES = (
    Case("landscape.mp4", "320x180", expected=(320, 180)),
    Case("upright.mp4", "320x180", upright=True, expected=(180, 320)),
    Case("wide-pixels.mp4", "240x180", filters=",setsar=4/3", expected=(320, 180)),
    Case(
        "odd.avi", "161x121", ("-c:v", "mjpeg", "-pix_fmt", "yuvj444p"), filters=",scale=161:121", expected=(160, 120)
    ),
    Case("ladder.mkv", "640x360", rate="30000/1001", sound="", expected=(640, 360)),
    Case("variable.mkv", "160x120", rate="30", filters=",select='lt(n,30)+not(mod(n,5))'", expected=(160, 120)),
    Case(
        "fast.webm",
        "160x160",
        ("-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime"),
        "120",
        expected=(160, 160),
    ),
    Case("slow.mp4", "160x120", rate="2", expected=(160, 120)),
    Case("surround.mkv", "160x120", ("-c:a", "ac3"), sound=f"{SINE},aformat=channel_layouts=5.1", expected=(160, 120)),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_outputs_match_the_plan(prober: Prober, clip: Clip, tmp_path: Path, case: Case) -> None:
    picture = BLACK_START.format(case.size, case.rate) + case.filters
    path = clip(f"made-{case.name}", picture, case.sound, *case.options)
    path = turned(path) if case.upright else path
    planned = plan(await prober.probe(str(path), asset_type=AssetType.VIDEO), AssetType.VIDEO)
    folder = await make(planned, path, tmp_path)
    hls, mp4, poster = (folder / output.key for output in expected_outputs(planned, output_prefix="out/"))

    report = await check(FolderSource(hls.parent), str(hls.resolve()))
    assert report.findings == ()
    assert {one.resolution for one in report.variants} == {f"{rung.width}x{rung.height}" for rung in planned.rungs}

    streams = {stream["codec_type"]: stream for stream in described(mp4)}
    video = streams["video"]
    assert (video["width"], video["height"]) == case.expected
    assert video["avg_frame_rate"] == video["r_frame_rate"] == f"{planned.fps_numerator}/{planned.fps_denominator}"
    longest = max(float(stream["duration"]) for stream in streams.values())
    assert longest == pytest.approx(planned.duration_ms / 1000, abs=1 / float(planned.fps) + 0.03)
    assert ("audio" in streams) is bool(case.sound)
    with Image.open(poster) as image:
        assert image.size == case.expected
        assert max(ImageStat.Stat(image).mean) > 40


async def test_audio_only_plan_is_made(prober: Prober, clip: Clip, tmp_path: Path) -> None:
    path = clip("made.mp3", "", "sine=d=8,aformat=channel_layouts=stereo", "-c:a", "libmp3lame")
    planned = plan(await prober.probe(str(path), asset_type=AssetType.AUDIO), AssetType.AUDIO)
    folder = await make(planned, path, tmp_path)
    hls, m4a = (folder / output.key for output in expected_outputs(planned, output_prefix="out/"))
    assert (await check(FolderSource(hls.parent), str(hls.resolve()))).findings == ()
    (sound,) = described(m4a)
    assert (sound["codec_name"], sound["channels"], sound["sample_rate"]) == ("aac", 2, "48000")
    assert float(sound["duration"]) == pytest.approx(8.0, abs=0.1)


async def make(planned: Plan, path: Path, folder: Path) -> Path:
    """Run the job document of `planned` on `path` as the embedded endpoint does, without its S3."""
    (folder / "input").symlink_to(path)
    source = await probe("ffprobe", folder / "input", "s3://in/x/film")
    job = make_plan(JobRequest.model_validate(document(planned)).job_settings, source)
    progress: list[str] = []
    done = await child.run(
        command.arguments("ffmpeg", "input", job, source), cwd=folder, deadline=60, on_line=progress.append
    )
    assert done.status == 0, done.stderr
    made = await outputs.collect("ffprobe", job, source, folder)
    await asyncio.to_thread(write_all, [upload for stage in made.uploads for upload in stage], folder)
    return folder


def write_all(uploads: list[Upload], folder: Path) -> None:
    for upload in uploads:
        target = folder / upload.key
        target.parent.mkdir(parents=True, exist_ok=True)
        content = upload.content
        target.write_bytes(content.read_bytes() if isinstance(content, Path) else content.encode())


def document(planned: Plan) -> dict[str, Any]:
    return create_job(
        planned,
        source=ObjectVersion("in", "x/film"),
        output_bucket="bucket",
        output_prefix="out/",
        role_arn="arn:aws:iam::123456789012:role/mediaconvert",
        queue=None,
        asset_id=uuid4(),
        attempt=1,
        token="t",
    )


def described(path: Path) -> list[Mapping[str, Any]]:
    command_line = ["ffprobe", "-v", "error", "-show_streams", "-of", "json", str(path)]
    done = subprocess.run(command_line, check=True, capture_output=True, timeout=30)
    streams: list[Mapping[str, Any]] = json.loads(done.stdout)["streams"]
    return streams
