"""A MediaConvert that transcodes nothing: it checks and keeps jobs and sends events as the embedded one, at once."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from aiohttp import web

from deploy.local import child, programs
from deploy.local.mediaconvert.api import application
from deploy.local.mediaconvert.config import Config, s3_client
from deploy.local.mediaconvert.delivery import delivery
from deploy.local.mediaconvert.document import JobSettings, OutputGroup
from deploy.local.mediaconvert.job import GroupDetail, Job, OutputDetail, Phase
from deploy.local.mediaconvert.job_store import Filter, JobStore
from deploy.local.mediaconvert.runner import Runner
from deploy.local.mediaconvert.transcoder import Progress, Transcoder

CONTENT = b"not really transcoded"
DURATION_MS = 1000
FFMPEG_DEADLINE = 60.0


@dataclass(frozen=True, slots=True)
class Stock:
    """One second of real HLS, made once and returned for every job, because the service measures its outputs."""

    playlist: str
    segment: bytes

    def of(self, name: str) -> dict[str, bytes]:
        """Return the files of the variant at this address."""
        segment = f"{name}_00001.ts"
        playlist = self.playlist.replace("stock0.ts", segment.rsplit("/", 1)[-1])
        return {f"{name}.m3u8": playlist.encode(), segment: self.segment}


async def make_stock(folder: Path) -> Stock:
    process = await asyncio.create_subprocess_exec(
        programs.ffmpeg(),
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=64x48:rate=10:duration=1",
        "-pix_fmt",
        "yuv420p",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-f",
        "hls",
        "-hls_time",
        "6",
        "-hls_playlist_type",
        "vod",
        str(folder / "stock.m3u8"),
        env=child.base_environment(),
    )
    async with asyncio.timeout(FFMPEG_DEADLINE):
        assert await process.wait() == 0
    return Stock((folder / "stock.m3u8").read_text(), (folder / "stock0.ts").read_bytes())


@dataclass(frozen=True, slots=True)
class InstantTranscoder(Transcoder):
    """Writes a few bytes wherever the real one would write a file."""

    stock: Stock

    async def run(self, job: Job, folder: Path, progress: Progress) -> tuple[GroupDetail, ...]:  # noqa: ARG002 - its door
        progress.phase(Phase.TRANSCODING, 50)
        settings = JobSettings.model_validate(job.settings)
        groups = [self._outputs_of(group) for group in settings.output_groups]
        for address, content in [file for _, files in groups for file in files.items()]:
            bucket, _, key = address.removeprefix("s3://").partition("/")
            await self.s3.put_object(Bucket=bucket, Key=key, Body=content)
        progress.phase(Phase.UPLOADING, 90)
        return tuple(detail for detail, _ in groups)

    def _outputs_of(self, group: OutputGroup) -> tuple[GroupDetail, dict[str, bytes]]:
        """Return the detail of a group, and the files that are written for it."""
        base = group.destination or ""
        names = [f"{base}{output.name_modifier or ''}" for output in group.outputs]
        if group.output_group_settings.type == "HLS_GROUP_SETTINGS":
            details = [OutputDetail(paths=(f"{name}.m3u8",), duration_ms=DURATION_MS) for name in names]
            files = {f"{base}.m3u8": b"#EXTM3U\n"}
            for name in names:
                files |= self.stock.of(name)
            return GroupDetail(kind="HLS_GROUP", playlists=(f"{base}.m3u8",), outputs=tuple(details)), files
        raw = group.outputs[0].container_settings.container == "RAW"
        suffix = ".0000000.jpg" if raw else f".{group.outputs[0].extension or 'mp4'}"
        files = {f"{name}{suffix}": CONTENT for name in names}
        details = [OutputDetail(paths=(file,), duration_ms=DURATION_MS) for file in files]
        return GroupDetail(kind="FILE_GROUP", playlists=(), outputs=tuple(details)), files


@dataclass(frozen=True, slots=True)
class FakeMediaConvert:
    """A running fake. `jobs` returns every job that was ever accepted, with its asset."""

    url: str
    store: JobStore

    def jobs(self) -> list[Job]:
        found: list[Job] = []
        token: str | None = None
        while True:
            page = self.store.page(Filter(limit=100, next_token=token))
            found += page.jobs
            token = page.next_token
            if token is None:
                return found


@asynccontextmanager
async def fake_mediaconvert(
    emulator_url: str, client_env: Mapping[str, str], state: Path
) -> AsyncIterator[FakeMediaConvert]:
    """Serve a fake on a free port, with outputs and events in the emulator. An error in it is raised at the end."""
    config = Config(state=state, port=0, endpoint_url=emulator_url, queue_limit=10_000)
    async with AsyncExitStack() as stack:
        store = stack.enter_context(closing(JobStore(state / "jobs.sqlite")))
        with mock.patch.dict(os.environ, client_env):
            sender = await stack.enter_async_context(delivery(config, store))
            s3 = await stack.enter_async_context(s3_client(config))
        runner = Runner(config, store, sender, InstantTranscoder(config, s3, await make_stock(state)))
        serving = web.AppRunner(application(config, store, runner), access_log=None, shutdown_timeout=1.0)
        await serving.setup()
        stack.push_async_callback(serving.cleanup)
        await web.TCPSite(serving, "127.0.0.1", 0).start()
        runner.recover()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in (sender.run(), runner.work(), runner.work())]
            yield FakeMediaConvert(f"http://127.0.0.1:{serving.addresses[0][1]}", store)
            for task in tasks:
                task.cancel()
