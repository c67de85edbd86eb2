"""The engine that works here: what it makes, what it reads, and what is left when it is stopped."""

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
from tests.integration.transcode.cases import Case, turn
from tests.integration.transcode.studio import Studio, report_of

LONG = Case("long", 640, 360, fps=Fraction(50), seconds=36)
RUNG = Rung(name="270p", width=480, height=270, qvbr=7, max_bitrate=400_000)
CORPUS = Path(__file__).parents[3] / "../shared/corpus/media"
DEADLINE = 60.0


@pytest.fixture(scope="session")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough work to be interrupted in."""
    return LONG.make(tmp_path_factory.mktemp("long"))


async def test_sound_becomes_hls_and_m4a(studio: Studio, tmp_path: Path) -> None:
    source = tmp_path / "talk.m4a"
    Case("talk", 64, 64, seconds=8).make(tmp_path)
    await run("ffmpeg", "-v", "error", "-i", str(tmp_path / "talk.mp4"), "-vn", "-c", "copy", str(source))
    asset = await studio.by_ffmpeg(await studio.asset(source, AssetType.AUDIO))
    assert (asset.status, asset.progress) == (Status.READY, 100)
    assert {(r.name, r.content_type) for r in asset.renditions} == {
        ("hls", "application/vnd.apple.mpegurl"),
        ("m4a", "audio/mp4"),
    }
    assert (await report_of(await studio.fetch(asset))).clean
    theirs = await studio.by_mediaconvert(await studio.asset(source, AssetType.AUDIO))
    assert await studio.keys(asset) == await studio.keys(theirs)


async def test_what_is_written_has_its_content_type(studio: Studio, tmp_path: Path) -> None:
    asset = await studio.by_ffmpeg(await studio.asset(Case("film", 640, 360).make(tmp_path)))
    base = next(r.key for r in asset.renditions if r.name == "mp4").removesuffix("video.mp4")
    types = {}
    for key in await studio.keys(asset):
        types[key] = (await studio.s3.head_object(Bucket=studio.bucket, Key=base + key))["ContentType"]
    by_suffix = {key.rpartition(".")[2]: kind for key, kind in types.items()}
    assert by_suffix == {
        "m3u8": "application/vnd.apple.mpegurl",
        "ts": "video/mp2t",
        "mp4": "video/mp4",
        "jpg": "image/jpeg",
        "json": "application/json",
    }
    master = await studio.s3.get_object(Bucket=studio.bucket, Key=base + "hls/master.m3u8")
    uris = [line for line in (await master["Body"].read()).decode().splitlines() if not line.startswith("#")]
    assert uris == ["master_360p.m3u8", "master_270p.m3u8"], "the one nearest to 2 Mbit/s comes first"


async def test_the_bound_version_is_read_whatever_came_later(studio: Studio, tmp_path: Path) -> None:
    asset = await studio.asset(Case("first", 180, 320, size="320x180", after=turn).make(tmp_path))
    await studio.s3.put_object(Bucket=studio.bucket, Key=asset.key, Body=b"#EXTM3U\nfile:///etc/passwd\n")
    ready = await studio.by_ffmpeg(asset)
    assert ready.status is Status.READY
    assert (ready.width, ready.height) == (180, 320)


async def test_an_object_that_is_gone_is_the_reason(studio: Studio, tmp_path: Path) -> None:
    asset = await studio.asset(Case("first", 320, 180).make(tmp_path))
    await studio.s3.delete_object(Bucket=studio.bucket, Key=asset.key, VersionId=asset.version_id or "")
    with pytest.raises(RejectedError) as caught:
        await studio.transcode(asset, studio.ffmpeg_engine())
    assert caught.value.code is Code.SOURCE_MISSING


@pytest.mark.parametrize("name", ["read_passwd_bypass.mp4", "bipbop_16x9.m3u8"])
async def test_what_lists_other_files_opens_none_even_when_the_probe_was_fooled(studio: Studio, name: str) -> None:
    if not (CORPUS / name).exists():
        pytest.skip("the shared corpus does not lie beside the repository")
    asset = await studio.asset(CORPUS / name)
    with pytest.raises(RejectedError):
        await make(studio, asset, plan_of(1000))
    assert await studio.keys(asset) == []


async def test_a_file_that_ends_early_is_refused(studio: Studio, tmp_path: Path) -> None:
    source = Case("early", 320, 180, seconds=8, suffix="ts").make(tmp_path)
    asset = await studio.asset(source.read_bytes()[: source.stat().st_size // 3])
    with pytest.raises(RejectedError) as caught:
        await make(studio, asset, plan_of(8000))
    assert caught.value.code is Code.CORRUPT


async def test_being_stopped_leaves_nothing_running_and_nothing_on_the_disk(studio: Studio, long: Path) -> None:
    asset = await studio.asset(long)
    held = asyncio.Event()
    work = asyncio.create_task(studio.transcode(asset, studio.ffmpeg_engine(holding(held))))
    pids = await encoders(work)
    await progress_of(studio, asset, work)
    assert held.is_set()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert not [pid for pid in pids if pid in running()]
    assert not list(studio.folder.glob("transcode-*"))
    assert not held.is_set()


async def test_an_encoder_that_is_killed_is_tried_again(studio: Studio, long: Path) -> None:
    asset = await studio.asset(long)
    work = asyncio.create_task(studio.transcode(asset, studio.ffmpeg_engine()))
    for pid in await encoders(work):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(RetryableError) as caught:
        await work
    assert caught.value.code is Code.WORKER_CRASHED


async def test_who_lost_the_lease_stops(studio: Studio, long: Path) -> None:
    asset = await studio.asset(long)
    work = asyncio.create_task(studio.transcode(asset, studio.ffmpeg_engine()))
    await encoders(work)
    await studio.assets.delete(asset.asset_id, [])
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(LeaseLostError):
            await work


async def test_progress_rises_and_segments_leave_while_it_runs(studio: Studio, long: Path) -> None:
    asset = await studio.asset(long)
    work = asyncio.create_task(studio.transcode(asset, studio.ffmpeg_engine()))
    seen = [0]
    while not work.done():
        await asyncio.wait({work}, timeout=0.2)
        seen.append((await studio.now(asset)).progress)
        if 0 < seen[-1] < 90 and any(key.endswith("00001.ts") for key in await studio.keys(asset)):
            break
    else:
        pytest.fail(f"no segment was there before the end; progress was {seen}")
    assert seen == sorted(seen)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def test_an_ffmpeg_that_is_not_there_is_ours_to_mend(studio: Studio, tmp_path: Path) -> None:
    asset = await studio.asset(Case("film", 320, 180).make(tmp_path))
    engine = studio.ffmpeg_engine()
    object.__setattr__(engine, "ffmpeg", "no-such-ffmpeg")
    with pytest.raises(RetryableError):
        await studio.transcode(asset, engine)


def plan_of(duration_ms: int) -> Plan:
    poster = Poster(at=0, width=480, height=270)
    return Plan(rungs=(RUNG,), sound=None, fps_numerator=25, duration_ms=duration_ms, poster=poster, container="mov")


async def make(studio: Studio, asset: Asset, plan: Plan) -> Commit:
    claim = await studio.claim(asset)
    return await studio.ffmpeg_engine().make(claim, plan, studio.stages.recorder(claim.fence))


@asynccontextmanager
async def holding(held: asyncio.Event) -> AsyncIterator[None]:
    held.set()
    try:
        yield
    finally:
        held.clear()


async def progress_of(studio: Studio, asset: Asset, work: asyncio.Task[object]) -> int:
    """Once there is some."""
    async with asyncio.timeout(DEADLINE):
        while not (progress := (await studio.now(asset)).progress):
            await asyncio.wait({work}, timeout=0.05)
    return progress


async def encoders(work: asyncio.Task[object]) -> list[int]:
    """The process ids of the ffmpeg that works for us, once there is one."""
    async with asyncio.timeout(DEADLINE):
        while not work.done():
            if pids := running():
                return pids
            await asyncio.wait({work}, timeout=0.05)
    raise AssertionError(f"it ended before: {work!r}")


def running() -> list[int]:
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if is_ours(path)]


def is_ours(cmdline: Path) -> bool:
    """Whether this is an ffmpeg that tells its progress, below this very process."""
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
