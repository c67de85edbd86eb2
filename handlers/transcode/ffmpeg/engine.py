"""The engine that transcodes on this machine with one ffmpeg, while the claim is held.

The consumer that holds the message renews the lease. A cancellation, by a drain, a lost lease or a deleted asset, ends
ffmpeg and all uploads before it propagates.
"""

import asyncio
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from handlers.scratch import is_full, scratch_folder
from handlers.transcode.ffmpeg import process as ffmpeg_process
from handlers.transcode.ffmpeg.command import arguments, largest_file
from handlers.transcode.ffmpeg.errors import REPORT_ENV, check_ended, is_damaged, read_damage
from handlers.transcode.ffmpeg.filters import find_tone_map
from handlers.transcode.ffmpeg.segment_uploader import BACKLOG, SegmentUploader
from handlers.transcode.ffmpeg.source_proxy import ServedObject, SourceProxy
from handlers.transcode.ffmpeg.upload_outputs import upload_outputs
from handlers.transcode.packaging.finalizer import BreachedPlanError, FinalizedOutputs, Finalizer
from handlers.transcode.packaging.outputs import HLS_FOLDER
from handlers.transcode.planning.billed_seconds import billed_seconds
from handlers.transcode.planning.plan import NOTICED_MS, Plan
from handlers.transcode.planning.submission import EngineName, Submission, cut_short, facts_of
from media.asset import Asset, AssetNote, Stage, StageState, Status, output_prefix
from media.asset_store.stages import Claim, Commit, FencedRecorder, Note
from media.errors import Code, RetryableError
from media.source_check import require_bound_version

log = structlog.get_logger(__name__)

MADE = 95
"""Percent of progress when ffmpeg has ended. What is left is to upload the MP4 and to measure."""
PROGRESS_SECONDS = 1.0
"""Seconds between two records of progress, each of which is sent to the clients that watch the asset."""

DAMAGED_NOTE = AssetNote("damaged", "Some of it could not be decoded")

type Protect = Callable[[], AbstractAsyncContextManager[None]]
"""Protects this worker from scale-in. It must not raise or block."""


@dataclass(frozen=True, slots=True)
class FfmpegEngine:
    """Transcodes with the program `ffmpeg`, in private folders below `scratch`."""

    finalizer: Finalizer
    ffmpeg: str
    scratch: Path
    protect: Protect
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    """Jobs at once. Beside MediaConvert this engine gets as many as the queue allows, and a machine bears few."""

    async def resume(self, claim: Claim) -> Commit | None:
        """Return None: the files of an interrupted attempt are removed, and the next attempt starts over."""
        del claim
        return None

    async def require_source(self, asset: Asset) -> None:
        """Make sure that the bound version exists, whichever version is current."""
        await self._find_source(asset)

    async def make(self, claim: Claim, plan: Plan, recorder: FencedRecorder) -> Commit:
        """Transcode, upload and measure; the commit says `done`."""
        # The record makes later events of a job that the other engine submitted count as stale.
        submission = Submission(attempt=claim.attempt, token="", plan=plan, engine=EngineName.FFMPEG)
        notes = [Note("planned", str(plan)), Note("submitted", "ffmpeg")]
        await recorder.record_submission(submission.as_json(), notes)
        prefix = output_prefix(claim.asset, Stage.TRANSCODE, claim.attempt)
        facts = facts_of(plan)
        async with self.slots, self.protect():
            try:
                completed, damaged = await self._make_once(claim.asset, plan, recorder, prefix)
            except BreachedPlanError as error:
                # A track that can be decoded in part ends early. Made again, it is filled up to the plan's end.
                completed, damaged = await self._make_once(claim.asset, plan.filled(), recorder, prefix)
                log.info("transcode.filled_up", after=str(error))
                if plan.duration_ms - error.duration_ms >= NOTICED_MS:
                    facts = replace(facts, notes=[cut_short(error.duration_ms, plan.duration_ms - error.duration_ms)])
        if damaged and not facts.notes:
            facts = replace(facts, notes=[DAMAGED_NOTE])
        return Commit(
            StageState.DONE,
            Status.READY,
            facts=replace(facts, duration_ms=completed.duration_ms),
            renditions=completed.renditions,
            notes=[*completed.notes, Note("ready")],
            billed_seconds=billed_seconds(submission),
        )

    async def _make_once(
        self, asset: Asset, plan: Plan, recorder: FencedRecorder, prefix: str
    ) -> tuple[FinalizedOutputs, bool]:
        """Return what was made, and whether something in the source could not be decoded."""
        async with scratch_folder("transcode-", self.scratch, room=largest_file(plan) + BACKLOG) as folder:
            damaged = await self._transcode(asset, plan, recorder, folder, prefix)
        return await self.finalizer.finish(plan, prefix), damaged

    async def _transcode(self, asset: Asset, plan: Plan, recorder: FencedRecorder, folder: Path, prefix: str) -> bool:
        largest = largest_file(plan)
        free = (await asyncio.to_thread(shutil.disk_usage, folder)).free
        # The estimate is one and a half times what the bit rate allows: the MP4 will hardly take all of that.
        if free < largest + BACKLOG:
            # Another worker may have more room.
            raise RetryableError(Code.TRANSCODER_ERROR, f"needs {largest + BACKLOG} bytes of disk, {free} are free")
        transfer, bucket = self.finalizer.transfer, self.finalizer.bucket
        uploader = SegmentUploader(transfer, folder, bucket, prefix + HLS_FOLDER)
        progress = _Progress(recorder, plan)

        async def watch(seconds: float) -> None:
            await uploader.collect()
            await progress(seconds)

        try:
            async with SourceProxy(transfer, await self._find_source(asset)).running() as proxy:
                tone_map = await find_tone_map(self.ffmpeg, folder) if plan.tone_map or plan.wide else ""
                argv = arguments(plan, program=self.ffmpeg, source=proxy.url, tone_map=tone_map)
                ended = await ffmpeg_process.run(argv, folder=folder, file_bytes=largest, watch=watch, env=REPORT_ENV)
                if proxy.failure:
                    raise proxy.failure
            damage = await asyncio.to_thread(read_damage, folder)
            full = await asyncio.to_thread(is_full, folder)
            check_ended(ended, full=full, damage=damage, cut_short=plan.cut_short)
            await uploader.finish()
            await upload_outputs(self.finalizer, plan, folder, prefix, uploader.uploaded_segments)
            return is_damaged(ended.stderr)
        finally:
            await uploader.abandon()

    async def _find_source(self, asset: Asset) -> ServedObject:
        """Return the bound version. Raises RejectedError(source_missing or source_changed)."""
        found = await require_bound_version(self.finalizer.storage, asset)
        return ServedObject(asset.source, found.size or 0, found.etag or "")


class _Progress:
    """Records the progress of a claim, at most every `PROGRESS_SECONDS`. Raises LeaseLostError."""

    def __init__(self, recorder: FencedRecorder, plan: Plan) -> None:
        self._recorder = recorder
        self._duration = plan.duration_ms / 1000
        self._percent = 0
        self._next = 0.0

    async def __call__(self, seconds: float) -> None:
        percent = min(MADE, int(seconds / self._duration * MADE))
        now = time.monotonic()
        if percent > self._percent and now >= self._next:
            self._percent, self._next = percent, now + PROGRESS_SECONDS
            await self._recorder.record_progress(percent)
