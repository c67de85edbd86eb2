"""Assets to transcode and both engines, on real S3 and Postgres, with real ffmpeg and real events."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from types_aiobotocore_s3 import S3Client

from consumer.queue.outcome import Outcome
from consumer.queue.retry import RetryPolicy
from consumer.stages.job_events import JobEvents
from consumer.stages.lifecycle import StageLifecycle
from deploy.local.mediaconvert import events as standin_events
from deploy.local.mediaconvert.config import Config
from deploy.local.mediaconvert.errors import JobFailedError
from deploy.local.mediaconvert.job import Job as StandinJob
from deploy.local.mediaconvert.job import Phase, new_job_id
from deploy.local.mediaconvert.probe import Source as StandinSource
from deploy.local.mediaconvert.transcoder import Transcoder as Standin
from handlers.transcode.engine import Engine
from handlers.transcode.ffmpeg.engine import FfmpegEngine
from handlers.transcode.handler import TranscodeHandler
from handlers.transcode.hls_check.conformance import check
from handlers.transcode.hls_check.report import Report
from handlers.transcode.hls_check.source import FolderSource
from handlers.transcode.mediaconvert.engine import MediaConvertEngine
from handlers.transcode.mediaconvert.event_handler import TranscodeEventHandler
from handlers.transcode.mediaconvert.events import parse_event
from handlers.transcode.packaging.finalizer import Finalizer
from handlers.transcode.probing.prober import Prober
from media.asset import (
    Asset,
    AssetType,
    DeliveryClass,
    ObjectVersion,
    Stage,
    StageState,
    Status,
    output_prefix,
    upload_key,
)
from media.asset_store.assets import AssetStore, NewAsset
from media.asset_store.database import Database
from media.asset_store.stages import Claim, Commit, StageRow, StageStore
from media.aws.mediaconvert import Transcoder
from media.aws.s3 import ObjectStorage
from media.aws.s3_transfer import ObjectTransfer
from media.outbox import Outbox, OutboxRow
from media.stage_endings import EndingRules
from media.telemetry import Metrics

LEASE = 600.0
OWNER = "dr-house"


class SubmittedJobs(Transcoder):
    """Accepts jobs. The test decides when, and whether, they run."""

    def __init__(self) -> None:
        self.requests: dict[str, Mapping[str, Any]] = {}

    async def create(self, request: Mapping[str, Any]) -> str:
        job_id = new_job_id()
        self.requests[job_id] = request
        return job_id


@dataclass
class EventCollector:
    """Collects the details of a job's events, in order."""

    job: StandinJob
    config: Config
    details: list[dict[str, Any]] = field(default_factory=list)

    def phase(self, phase: Phase, percent: int) -> None:
        self.job = self.job.but(phase=phase, percent=percent)
        self.details.append(standin_events.status_update(self.job, self.config)["detail"])

    def probed(self, source: StandinSource, warnings: tuple[str, ...]) -> None:
        self.job = self.job.but(warnings=warnings)
        self.details.append(standin_events.input_information(self.job, self.config, source)["detail"])


@dataclass(frozen=True)
class Harness:
    """The objects that the consumer wires together, on a bucket of this test's own."""

    s3: S3Client
    bucket: str
    folder: Path
    database: Database
    jobs: SubmittedJobs = field(default_factory=SubmittedJobs)
    metrics: Metrics = field(default_factory=Metrics)
    ffmpeg: str = "ffmpeg"

    @property
    def assets(self) -> AssetStore:
        return AssetStore(self.database)

    @property
    def stages(self) -> StageStore:
        return StageStore(self.database)

    @property
    def finalizer(self) -> Finalizer:
        return Finalizer(ObjectStorage(self.s3), ObjectTransfer(self.s3), self.metrics, self.bucket)

    @property
    def job_events(self) -> JobEvents:
        lifecycle = StageLifecycle(
            self.assets,
            self.stages,
            Outbox(self.database, {}),
            self.metrics,
            EndingRules(self.bucket, max_attempts=3),
            RetryPolicy(attempts=3),
            lease=LEASE,
        )
        handler = TranscodeEventHandler(self.finalizer, self.assets.timeline, self.assets.late_version_at)
        return JobEvents(handler, lifecycle)

    def ffmpeg_engine(self, protect: AbstractAsyncContextManager[None] | None = None) -> FfmpegEngine:
        return FfmpegEngine(self.finalizer, self.ffmpeg, self.folder, lambda: protect or nullcontext())

    def mediaconvert_engine(self) -> MediaConvertEngine:
        storage = ObjectStorage(self.s3)
        return MediaConvertEngine(storage, self.jobs, bucket=self.bucket, role_arn="arn:role", queue=None)

    async def add_asset(self, source: Path | bytes, asset_type: AssetType = AssetType.VIDEO) -> Asset:
        """Upload, bind and scan a source: its transcode stage is queued."""
        data = source if isinstance(source, bytes) else source.read_bytes()  # noqa: ASYNC240 - a small test clip
        asset_id = uuid4()
        key = upload_key(asset_type, OWNER, asset_id, "talk.bin")
        new = NewAsset(
            asset_id, OWNER, asset_type, DeliveryClass.COURSE_VIDEO, "video/mp4", "talk.bin", self.bucket, key
        )
        assert await self.assets.create(new)
        await self.s3.put_object(Bucket=self.bucket, Key=key, Body=data)
        stored = await ObjectStorage(self.s3).head(ObjectVersion(self.bucket, key))
        assert stored
        await self.assets.bind(asset_id, stored)
        scan = await self.stages.claim(asset_id, Stage.SCAN, version_id=stored.version.version_id, lease=LEASE)
        assert isinstance(scan, Claim)
        await self.stages.commit(scan.fence, Commit(StageState.DONE, Status.PROCESSING, next_stage=Stage.TRANSCODE))
        return await self.reload(scan.asset)

    async def claim(self, asset: Asset) -> Claim:
        claim = await self.stages.claim(asset.asset_id, Stage.TRANSCODE, version_id=asset.version_id or "", lease=LEASE)
        assert isinstance(claim, Claim), claim
        return claim

    async def transcode(self, asset: Asset, engine: Engine) -> list[OutboxRow]:
        """Run the stage once, as the consumer does."""
        claim = await self.claim(asset)
        handler = TranscodeHandler(ObjectStorage(self.s3), Prober(), engine, self.stages.recorder, self.ffmpeg_engine())
        commit = await handler(claim)
        return await self.stages.commit(claim.fence, commit)

    async def submit(self, asset: Asset) -> str:
        """Submit a job without running it. Returns its id."""
        await self.transcode(asset, self.mediaconvert_engine())
        return list(self.jobs.requests)[-1]

    async def run_job(self, job_id: str) -> list[dict[str, Any]]:
        """Run a submitted job on the stand-in. Returns the details of all its events."""
        request = self.jobs.requests[job_id]
        settings: dict[str, Any] = json.loads(json.dumps(request["Settings"]))
        job = StandinJob(
            job_id=job_id,
            token=None,
            fingerprint="",
            role="",
            settings=settings,
            user_metadata=dict(request["UserMetadata"]),
            input_file=settings["Inputs"][0]["FileInput"],
            created_at=time.time(),
        )
        config = Config(state=self.folder, ffmpeg=self.ffmpeg)
        folder = self.folder / job_id
        folder.mkdir()
        events = EventCollector(job, config)
        try:
            groups = await Standin(config, self.s3).run(job, folder, events)
        except JobFailedError as error:
            failed = events.job.but(error_code=error.code, error_message=error.message)
            events.details.append(standin_events.failed(failed, config)["detail"])
        else:
            events.details.append(standin_events.complete(events.job.but(groups=groups), config)["detail"])
        return events.details

    async def apply_event(self, detail: Mapping[str, Any]) -> Outcome:
        return await self.job_events.apply(parse_event(detail))

    async def transcode_with_mediaconvert(self, asset: Asset) -> Asset:
        before = len(self.jobs.requests)
        await self.transcode(asset, self.mediaconvert_engine())
        # There is no job for a source that our own ffmpeg makes.
        for job_id in [*self.jobs.requests][before:]:
            for detail in await self.run_job(job_id):
                await self.apply_event(detail)
        return await self.reload(asset)

    async def transcode_with_ffmpeg(self, asset: Asset) -> Asset:
        await self.transcode(asset, self.ffmpeg_engine())
        return await self.reload(asset)

    async def reload(self, asset: Asset) -> Asset:
        found = await self.assets.get(asset.asset_id)
        assert found
        return found

    async def stage_row(self, asset: Asset) -> StageRow:
        found = await self.stages.get(asset.asset_id, Stage.TRANSCODE)
        assert found
        return found

    async def timeline_codes(self, asset: Asset) -> list[str]:
        """Return the codes on the asset's timeline."""
        return [entry.code for entry in await self.assets.timeline(asset.asset_id)]

    async def output_keys(self, asset: Asset, attempt: int = 1) -> list[str]:
        """List the keys below an attempt's prefix, without it."""
        prefix = output_prefix(asset, Stage.TRANSCODE, attempt)
        files = await ObjectStorage(self.s3).list(self.bucket, prefix)
        return sorted(file.key.removeprefix(prefix) for file in files)

    async def fetch_outputs(self, asset: Asset, attempt: int = 1) -> Path:
        """Download to a folder what is below an attempt's prefix and not there yet. No attempt writes a key twice."""
        prefix = output_prefix(asset, Stage.TRANSCODE, attempt)
        target = self.folder / f"fetched-{asset.asset_id}-{attempt}"
        for key in await self.output_keys(asset, attempt):
            path = target / key
            if path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(await ObjectStorage(self.s3).read(ObjectVersion(self.bucket, prefix + key), limit=10**8))
        return target


async def report_of(folder: Path) -> Report:
    """Check downloaded HLS, reading all of it."""
    return await check(FolderSource(folder / "hls"), str((folder / "hls/master.m3u8").resolve()))


async def transcode_with_both(harness: Harness, source: Path) -> Sequence[Asset]:
    """Transcode on both engines at a time."""
    made = await asyncio.gather(
        harness.transcode_with_ffmpeg(await harness.add_asset(source)),
        harness.transcode_with_mediaconvert(await harness.add_asset(source)),
    )
    for asset in made:
        assert asset.status is Status.READY, (asset.code, asset.detail)
        assert (report := await report_of(await harness.fetch_outputs(asset))).clean, str(report)
    return made


def poster_name(asset: Asset) -> str:
    return next(one.key for one in asset.renditions if one.name == "poster").rpartition("/")[2]


async def new_harness(s3: S3Client, database: Database, folder: Path, region: Any) -> Harness:
    bucket = f"transcode-{uuid4().hex}"
    await s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": region})
    await s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return Harness(s3, bucket, folder, database)
