"""The peers of the transcode benchmark: our engine, and bare ffmpeg commands as people write them."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from handlers.transcode.ffmpeg.command import arguments
from handlers.transcode.ffmpeg.engine import FfmpegEngine
from handlers.transcode.mediaconvert.create_job import in_playlist_order
from handlers.transcode.packaging.finalizer import Finalizer
from handlers.transcode.planning.plan import Plan, Rung
from media.asset import Asset, AssetType, DeliveryClass, Stage, Status, output_prefix
from media.asset_store.stages import Claim, FencedRecorder
from media.telemetry import Metrics
from tests.bench.transcode_disk import DiskStorage, DiskTransfer, NoStages

type Peer = Callable[[Plan, Path, Path], Awaitable[Path]]
"""Transcode a source by a plan into an empty folder, and return the folder of the playlists."""

DEADLINE = 1800.0


async def ours(plan: Plan, source: Path, folder: Path) -> Path:
    """Run our engine as a claim does: proxy, sandbox, uploads, playlists, poster and report."""
    key = f"uploads/{source.name}"
    (folder / "uploads").mkdir()
    (folder / key).symlink_to(source)
    now = datetime.now(UTC)
    asset = Asset(
        UUID(int=1),
        "owner",
        AssetType.VIDEO,
        Status.PROCESSING,
        DeliveryClass.COURSE_VIDEO,
        "video/mp4",
        source.name,
        "bucket",
        key,
        now,
        now,
        etag="etag",
    )
    scratch = folder / "scratch"
    scratch.mkdir()
    finalizer = Finalizer(DiskStorage(folder), DiskTransfer(folder), Metrics(), "bucket")
    engine = FfmpegEngine(finalizer, "ffmpeg", scratch, nullcontext)
    claim = Claim(asset, Stage.TRANSCODE, 1, 1)
    await engine.make(claim, plan, FencedRecorder(NoStages(), claim.fence))
    return folder / output_prefix(asset, Stage.TRANSCODE, 1) / "hls"


async def our_command(plan: Plan, source: Path, folder: Path) -> Path:
    """Run our ffmpeg command alone on the local file, which shows the cost of the rest of the engine."""
    await _run(arguments(plan, program="ffmpeg", source=str(source)), folder)
    return folder


async def one_command(plan: Plan, source: Path, folder: Path) -> Path:
    """Run one command that decodes once and has an encoder for every output."""
    ends = [*plan.rungs, plan.rungs[-1]]
    split = "".join(f"[s{number}]" for number in range(len(ends) + 1))
    chains = [f"[0:v]split={len(ends) + 1}{split}", *(_scaled(n, rung) for n, rung in enumerate(ends))]
    at = plan.poster.at / 1000 if plan.poster else 0
    chains.append(f"[s{len(ends)}]select='gte(t,{at})',scale={plan.rungs[-1].width}:-2[poster]")
    argv = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", str(source), "-filter_complex", ";".join(chains)]
    for number, rung in enumerate(plan.rungs):
        argv += ["-map", f"[v{number}]", *_encoded(rung, plan), *_hls(rung)]
    argv += ["-map", f"[v{len(plan.rungs)}]", *_encoded(plan.rungs[-1], plan), "-movflags", "+faststart", "video.mp4"]
    await _run([*argv, "-map", "[poster]", "-frames:v", "1", "poster.jpg"], folder)
    return folder


async def command_per_rung(plan: Plan, source: Path, folder: Path) -> Path:
    """Run one command for each output, one after the other."""
    begin = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", str(source)]
    for rung in plan.rungs:
        argv = [*begin, "-vf", f"scale={rung.width}:{rung.height}", "-map", "0:v", *_encoded(rung, plan), *_hls(rung)]
        await _run(argv, folder)
    best = plan.rungs[-1]
    scale = ["-vf", f"scale={best.width}:{best.height}"]
    mp4 = ["-map", "0:v", *_encoded(best, plan), "-movflags", "+faststart", "video.mp4"]
    await _run([*begin, *scale, *mp4], folder)
    at = str(plan.poster.at / 1000 if plan.poster else 0)
    await _run([*begin[:-2], "-ss", at, *begin[-2:], *scale, "-frames:v", "1", "poster.jpg"], folder)
    return folder


PEERS: dict[str, Peer] = {
    "ours": ours,
    "our command alone": our_command,
    "one bare command": one_command,
    "a command per rung": command_per_rung,
}


def playlists(plan: Plan, folder: Path) -> dict[str, Path]:
    """Return the path of each rung's playlist."""
    return {rung.name: folder / f"master_{rung.name}.m3u8" for rung in in_playlist_order(plan)}


def make_source(path: Path, seconds: float) -> Path:
    """Write a zoom with detail everywhere and a steady tone, which is neither a slide show nor noise."""
    picture = f"mandelbrot=s=1920x1080:r=30:end_pts=600:maxiter=600,trim=duration={seconds}"
    sound = f"aevalsrc=0.3*sin(2*PI*330*t)|0.3*sin(2*PI*440*t):s=48000:d={seconds}"
    codecs = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "14", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    argv = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound]
    subprocess.run([*argv, *codecs, str(path)], check=True, timeout=DEADLINE)
    return path


def _scaled(number: int, rung: Rung) -> str:
    return f"[s{number}]scale={rung.width}:{rung.height},format=yuv420p[v{number}]"


def _encoded(rung: Rung, plan: Plan) -> list[str]:
    """Build the same encoder settings as ours: preset, quality, caps, groups of pictures and audio."""
    made = arguments(plan, program="ffmpeg", source="/source")
    number = plan.rungs.index(rung)
    own = [at for at, word in enumerate(made) if word.startswith("-") and word.endswith(f":v:{number}")]
    picture = [part for at in own for part in (made[at].removesuffix(f":{number}"), made[at + 1])]
    if plan.sound is None:
        return picture
    return [*picture, "-map", "0:a:0", "-c:a", "aac", "-b:a", str(plan.sound.bitrate), "-ar", "48000"]


def _hls(rung: Rung) -> list[str]:
    segments = ["-hls_time", "6", "-hls_playlist_type", "vod", "-hls_segment_filename", f"master_{rung.name}_%05d.ts"]
    return ["-f", "hls", *segments, f"master_{rung.name}.m3u8"]


async def _run(argv: list[str], folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(*argv, cwd=folder, stdout=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(DEADLINE):
            status = await process.wait()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if status:
        raise RuntimeError(f"{argv[0]} ended with {status}")
