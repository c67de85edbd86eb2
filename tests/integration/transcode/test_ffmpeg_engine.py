"""The ffmpeg engine: its outputs, its sources, and its behavior when it is stopped."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path

import pytest

from handlers.transcode.planning.plan import Plan, Poster, Rung
from media.asset import Asset, AssetType, Status
from media.asset_store.stages import Commit
from media.errors import Code, LeaseLostError, RejectedError, RetryableError
from tests.integration.transcode.engine_harness import Harness, report_of
from tests.integration.transcode.source_clips import Clip, run_ffmpeg, turn

PIECE = Clip("piece", 640, 360, fps=Fraction(50), seconds=2, channels=0)
RUNG = Rung(name="270p", width=480, height=270, qvbr=7, max_bitrate=400_000)
CORPUS = Path(__file__).parents[3] / "../shared/corpus/media"
DEADLINE = 60.0


@pytest.fixture(scope="session")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a clip of 36 s, long enough to interrupt its transcoding, from copies of a short one."""
    folder = tmp_path_factory.mktemp("long")
    run_ffmpeg("-stream_loop", "17", "-i", PIECE.make(folder), "-c", "copy", folder / "long.mp4")
    return folder / "long.mp4"


async def test_audio_becomes_hls_and_m4a(harness: Harness, tmp_path: Path) -> None:
    source = tmp_path / "talk.m4a"
    Clip("talk", 64, 64, seconds=8).make(tmp_path)
    await run("ffmpeg", "-v", "error", "-i", str(tmp_path / "talk.mp4"), "-vn", "-c", "copy", str(source))
    asset = await harness.transcode_with_ffmpeg(await harness.add_asset(source, AssetType.AUDIO))
    assert (asset.status, asset.progress) == (Status.READY, 100)
    assert {(r.name, r.content_type) for r in asset.renditions} == {
        ("hls", "application/vnd.apple.mpegurl"),
        ("m4a", "audio/mp4"),
    }
    assert (await report_of(await harness.fetch_outputs(asset))).clean
    theirs = await harness.transcode_with_mediaconvert(await harness.add_asset(source, AssetType.AUDIO))
    assert await harness.output_keys(asset) == await harness.output_keys(theirs)


async def test_outputs_have_their_content_types(harness: Harness, tmp_path: Path) -> None:
    asset = await harness.transcode_with_ffmpeg(await harness.add_asset(Clip("film", 640, 360).make(tmp_path)))
    base = next(r.key for r in asset.renditions if r.name == "mp4").removesuffix("video.mp4")
    types = {}
    for key in await harness.output_keys(asset):
        types[key] = (await harness.s3.head_object(Bucket=harness.bucket, Key=base + key))["ContentType"]
    by_suffix = {key.rpartition(".")[2]: kind for key, kind in types.items()}
    assert by_suffix == {
        "m3u8": "application/vnd.apple.mpegurl",
        "ts": "video/mp2t",
        "mp4": "video/mp4",
        "jpg": "image/jpeg",
        "json": "application/json",
    }
    master = await harness.s3.get_object(Bucket=harness.bucket, Key=base + "hls/master.m3u8")
    uris = [line for line in (await master["Body"].read()).decode().splitlines() if not line.startswith("#")]
    assert uris == ["master_360p.m3u8", "master_270p.m3u8"], "the one nearest to 2 Mbit/s comes first"


async def test_bound_version_is_read_despite_a_later_one(harness: Harness, tmp_path: Path) -> None:
    asset = await harness.add_asset(Clip("first", 180, 320, size="320x180", after=turn).make(tmp_path))
    await harness.s3.put_object(Bucket=harness.bucket, Key=asset.key, Body=b"#EXTM3U\nfile:///etc/passwd\n")
    ready = await harness.transcode_with_ffmpeg(asset)
    assert ready.status is Status.READY
    assert (ready.width, ready.height) == (180, 320)


async def test_missing_object_is_reported(harness: Harness, tmp_path: Path) -> None:
    asset = await harness.add_asset(Clip("first", 320, 180).make(tmp_path))
    await harness.s3.delete_object(Bucket=harness.bucket, Key=asset.key, VersionId=asset.version_id or "")
    with pytest.raises(RejectedError) as caught:
        await harness.transcode(asset, harness.ffmpeg_engine())
    assert caught.value.code is Code.SOURCE_MISSING


@pytest.mark.parametrize("name", ["read_passwd_bypass.mp4", "bipbop_16x9.m3u8"])
async def test_playlist_that_passed_the_probe_opens_no_files(harness: Harness, name: str) -> None:
    if not (CORPUS / name).exists():
        pytest.skip("the shared corpus does not lie beside the repository")
    asset = await harness.add_asset(CORPUS / name)
    with pytest.raises(RejectedError):
        await make(harness, asset, plan_of(1000))
    assert await harness.output_keys(asset) == []


async def test_truncated_file_is_rejected(harness: Harness, tmp_path: Path) -> None:
    source = Clip("early", 320, 180, seconds=8, suffix="ts").make(tmp_path)
    asset = await harness.add_asset(source.read_bytes()[: source.stat().st_size // 3])
    with pytest.raises(RejectedError) as caught:
        await make(harness, asset, plan_of(8000))
    assert caught.value.code is Code.CORRUPT


async def test_stopped_engine_leaves_no_process_and_no_files(harness: Harness, long: Path) -> None:
    asset = await harness.add_asset(long)
    held = asyncio.Event()
    work = asyncio.create_task(harness.transcode(asset, harness.ffmpeg_engine(holding(held))))
    pids = await wait_for_encoders(work)
    await wait_for_progress(harness, asset, work)
    assert held.is_set()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert not [pid for pid in pids if pid in running()]
    assert not list(harness.folder.glob("transcode-*"))
    assert not held.is_set()


async def test_killed_encoder_is_retried(harness: Harness, long: Path) -> None:
    asset = await harness.add_asset(long)
    work = asyncio.create_task(harness.transcode(asset, harness.ffmpeg_engine()))
    for pid in await wait_for_encoders(work):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(RetryableError) as caught:
        await work
    assert caught.value.code is Code.WORKER_CRASHED


async def test_encoder_outlives_the_signals_that_end_the_whole_service(harness: Harness, long: Path) -> None:
    """A service manager sends SIGTERM to ffmpeg too: what it has done so far may end in the drain."""
    asset = await harness.add_asset(long)
    work = asyncio.create_task(harness.transcode(asset, harness.ffmpeg_engine()))
    for pid in await wait_for_encoders(work):
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
    await wait_for_progress(harness, asset, work)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work


async def test_lost_lease_stops_the_engine(harness: Harness, long: Path) -> None:
    asset = await harness.add_asset(long)
    work = asyncio.create_task(harness.transcode(asset, harness.ffmpeg_engine()))
    await wait_for_encoders(work)
    await harness.assets.delete(asset.asset_id, [])
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(LeaseLostError):
            await work


async def test_progress_rises_and_segments_are_uploaded_meanwhile(harness: Harness, long: Path) -> None:
    asset = await harness.add_asset(long)
    work = asyncio.create_task(harness.transcode(asset, harness.ffmpeg_engine()))
    seen = [0]
    while not work.done():
        await asyncio.wait({work}, timeout=0.2)
        seen.append((await harness.reload(asset)).progress)
        if 0 < seen[-1] < 90 and any(key.endswith("00001.ts") for key in await harness.output_keys(asset)):
            break
    else:
        pytest.fail(f"no segment was there before the end; progress was {seen}")
    assert seen == sorted(seen)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def test_missing_ffmpeg_is_retried(harness: Harness, tmp_path: Path) -> None:
    asset = await harness.add_asset(Clip("film", 320, 180).make(tmp_path))
    engine = harness.ffmpeg_engine()
    object.__setattr__(engine, "ffmpeg", "no-such-ffmpeg")
    with pytest.raises(RetryableError):
        await harness.transcode(asset, engine)


def plan_of(duration_ms: int) -> Plan:
    poster = Poster(at=0, width=480, height=270)
    return Plan(rungs=(RUNG,), sound=None, fps_numerator=25, duration_ms=duration_ms, poster=poster, container="mov")


async def make(harness: Harness, asset: Asset, plan: Plan) -> Commit:
    claim = await harness.claim(asset)
    return await harness.ffmpeg_engine().make(claim, plan, harness.stages.recorder(claim.fence))


@asynccontextmanager
async def holding(held: asyncio.Event) -> AsyncIterator[None]:
    held.set()
    try:
        yield
    finally:
        held.clear()


async def wait_for_progress(harness: Harness, asset: Asset, work: asyncio.Task[object]) -> int:
    """Wait for the first progress."""
    async with asyncio.timeout(DEADLINE):
        while not (progress := (await harness.reload(asset)).progress):
            await asyncio.wait({work}, timeout=0.05)
    return progress


async def wait_for_encoders(work: asyncio.Task[object]) -> list[int]:
    """Wait for our ffmpeg processes. Returns their ids."""
    async with asyncio.timeout(DEADLINE):
        while not work.done():
            if pids := running():
                return pids
            await asyncio.wait({work}, timeout=0.05)
    raise AssertionError(f"it ended before: {work!r}")


def running() -> list[int]:
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if is_ours(path)]


def is_ours(cmdline: Path) -> bool:
    """Tell whether this is an ffmpeg of the engine, started below this process."""
    try:
        words = cmdline.read_bytes().split(b"\0")
        return words[0].endswith(b"ffmpeg") and b"-progress" in words and descends(int(cmdline.parent.name))
    except OSError:
        return False  # it ended meanwhile


def descends(pid: int) -> bool:
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        if pid == os.getpid():
            return True
    return False


async def run(*argv: str) -> None:
    process = await asyncio.create_subprocess_exec(*argv)
    async with asyncio.timeout(DEADLINE):
        assert await process.wait() == 0
