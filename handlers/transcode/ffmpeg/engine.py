"""The engine that transcodes here and now, with one ffmpeg, while the claim is held.

The lease is renewed by whoever holds the message. A cancellation, be it a drain, a lost lease or a deleted asset,
ends ffmpeg and all uploads before it goes on.
"""

import asyncio
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from handlers.scratch import is_full, scratch_folder
from handlers.transcode.ffmpeg import process as ffmpeg_process
from handlers.transcode.ffmpeg.command import arguments, largest_file
from handlers.transcode.ffmpeg.errors import check_ended
from handlers.transcode.ffmpeg.filters import tone_map_of
from handlers.transcode.ffmpeg.segment_uploader import BACKLOG, SegmentUploader
from handlers.transcode.ffmpeg.source_proxy import ServedObject, SourceProxy
from handlers.transcode.ffmpeg.upload_outputs import upload_outputs
from handlers.transcode.packaging.finalizer import Finalizer
from handlers.transcode.packaging.outputs import HLS_FOLDER
from handlers.transcode.planning.billed_seconds import billed_seconds
from handlers.transcode.planning.plan import Plan
from handlers.transcode.planning.submission import EngineName, Submission, facts_of
from media.asset import Asset, Stage, StageState, Status, output_prefix
from media.asset_store.stages import Claim, Commit, FencedRecorder, Note
from media.errors import Code, RetryableError
from media.source_check import require_bound_version

log = structlog.get_logger(__name__)

MADE = 95
"""Percent when ffmpeg has ended; what is left is to upload the MP4 and to measure."""
PROGRESS_SECONDS = 1.0
"""Between two notes of progress: those who watch the asset are told of each."""

type Protect = Callable[[], AbstractAsyncContextManager[None]]
"""Keeps this worker from being chosen when the service shrinks; must not raise or hold anything up."""


@dataclass(frozen=True, slots=True)
class FfmpegEngine:
    """Transcodes with the program `ffmpeg`, in private folders below `scratch`."""

    finalizer: Finalizer
    ffmpeg: str
    scratch: Path
    protect: Protect

    async def resume(self, claim: Claim) -> Commit | None:
        """Nothing: what an interrupted attempt wrote is swept, and the next one begins anew."""
        del claim
        return None

    async def require_source(self, asset: Asset) -> None:
        await self._served(asset)

    async def make(self, claim: Claim, plan: Plan, recorder: FencedRecorder) -> Commit:
        # Written down so that the events of a job which another engine submitted before count as old.
        submission = Submission(attempt=claim.attempt, token="", at=time.time(), plan=plan, engine=EngineName.FFMPEG)
        notes = [Note("planned", str(plan)), Note("submitted", "ffmpeg")]
        await recorder.record_submission(submission.as_json(), notes)
        prefix = output_prefix(claim.asset, Stage.TRANSCODE, claim.attempt)
        async with self.protect():
            async with scratch_folder("transcode-", self.scratch, room=largest_file(plan) + BACKLOG) as folder:
                await self._transcode(claim.asset, plan, recorder, folder, prefix)
            completed = await self.finalizer.finish(plan, prefix)
        return Commit(
            StageState.DONE,
            Status.READY,
            facts=replace(facts_of(plan), duration_ms=completed.duration_ms),
            renditions=completed.renditions,
            notes=[*completed.notes, Note("ready")],
            billed_seconds=billed_seconds(submission),
        )

    async def _transcode(self, asset: Asset, plan: Plan, recorder: FencedRecorder, folder: Path, prefix: str) -> None:
        largest = largest_file(plan)
        await asyncio.to_thread(_require_room, folder, largest)
        transfer, bucket = self.finalizer.transfer, self.finalizer.bucket
        uploader = SegmentUploader(transfer, folder, bucket, prefix + HLS_FOLDER)
        report = _Progress(recorder, plan)

        async def watch(seconds: float) -> None:
            await uploader.collect()
            await report(seconds)

        try:
            async with SourceProxy(transfer, await self._served(asset)).running() as proxy:
                tone_map = await tone_map_of(self.ffmpeg, folder) if plan.tone_map else ""
                argv = arguments(plan, program=self.ffmpeg, source=proxy.url, tone_map=tone_map)
                ended = await ffmpeg_process.run(argv, folder=folder, file_bytes=largest, watch=watch)
                if proxy.failure:
                    raise proxy.failure
            check_ended(ended, full=await asyncio.to_thread(is_full, folder))
            await uploader.finish()
            await upload_outputs(self.finalizer, plan, folder, prefix, uploader.uploaded_segments)
        finally:
            await uploader.abandon()

    async def _served(self, asset: Asset) -> ServedObject:
        """The bound version, whatever is current. Raises RejectedError(source_missing or source_changed)."""
        found = await require_bound_version(self.finalizer.storage, asset)
        return ServedObject(asset.source, found.size or 0, found.etag or "")


class _Progress:
    """Notes how far a claim is, not too often. Raises LeaseLostError."""

    def __init__(self, recorder: FencedRecorder, plan: Plan) -> None:
        self._recorder = recorder
        self._whole = plan.duration_ms / 1000
        self._percent = 0
        self._next = 0.0

    async def __call__(self, seconds: float) -> None:
        percent = min(MADE, int(seconds / self._whole * MADE))
        now = time.monotonic()
        if percent > self._percent and now >= self._next:
            self._percent, self._next = percent, now + PROGRESS_SECONDS
            await self._recorder.record_progress(percent)


def _require_room(folder: Path, largest: int) -> None:
    """Raises RetryableError when the disk could fill: another worker may have more."""
    free = shutil.disk_usage(folder).free
    # The MP4 is reckoned at one and a half times what its bit rate allows; it will hardly take all of that.
    if free < largest + BACKLOG:
        raise RetryableError(Code.TRANSCODER_ERROR, f"needs {largest + BACKLOG} bytes of disk, {free} are free")
