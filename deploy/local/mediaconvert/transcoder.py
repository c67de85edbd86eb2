"""The run of one job from its input in S3 to its outputs there: fetch, probe, plan, transcode, describe, upload."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from types_aiobotocore_s3 import S3Client

from deploy.local.mediaconvert import child, command, errors, objects, outputs
from deploy.local.mediaconvert.config import Config
from deploy.local.mediaconvert.document import JobSettings
from deploy.local.mediaconvert.job import GroupDetail, Job, Phase
from deploy.local.mediaconvert.plan import make_plan
from deploy.local.mediaconvert.planned import Plan
from deploy.local.mediaconvert.probe import DEADLINE, Source, probe
from handlers.transcode.ffmpeg import errors as ffmpeg_errors

INPUT = "input"
"""The input's name in the working directory, so that no name of a user reaches a command line."""
CUT_SHORT = re.compile(f"{ffmpeg_errors.CUT_SHORT.pattern}|Truncating packet|truncated", re.IGNORECASE)
LEAST_MADE = 0.5
"""Share of the announced duration below which the rest of the file is taken for missing."""
PROBED, TRANSCODED = 5, 90
"""Percent of the job that is done after these phases."""


class Progress(Protocol):
    """The receiver of a job's progress."""

    def phase(self, phase: Phase, percent: int) -> None: ...

    def probed(self, source: Source, warnings: tuple[str, ...]) -> None: ...


@dataclass(frozen=True, slots=True)
class Transcoder:
    """Runs jobs; one instance serves them all. The caller makes the private `folder` of a run and removes it."""

    config: Config
    s3: S3Client

    async def run(self, job: Job, folder: Path, progress: Progress) -> tuple[GroupDetail, ...]:
        """Run a job and return its outputs. Raises JobFailedError with MediaConvert's code."""
        progress.phase(Phase.PROBING, 0)
        source_path = folder / INPUT
        await objects.fetch(self.s3, job.input_file, source_path)
        source = await probe(self.config.ffprobe, source_path, job.input_file)
        plan = make_plan(JobSettings.model_validate(job.settings), source)
        progress.probed(source, plan.warnings)
        progress.phase(Phase.TRANSCODING, PROBED)
        stderr = await self._transcode(plan, source, folder, progress)
        made = await outputs.collect(self.config.ffprobe, plan, source, folder)
        size = (await asyncio.to_thread(source_path.stat)).st_size
        if made.duration < LEAST_MADE * source.duration or CUT_SHORT.search(stderr):
            message = f"Demuxer: [ReadPacketData File read failed - end of file hit at length [{size}]."
            raise errors.JobFailedError(errors.TRUNCATED, f"{message} Is file truncated?]")
        progress.phase(Phase.UPLOADING, TRANSCODED)
        await objects.put_all(self.s3, made.uploads)
        return made.groups

    async def _transcode(self, plan: Plan, source: Source, folder: Path, progress: Progress) -> str:
        tone_map = await self._tone_map(folder) if plan.tone_map else ""
        argv = command.arguments(self.config.ffmpeg, INPUT, plan, source, tone_map=tone_map)
        try:
            finished = await child.run(
                argv,
                cwd=folder,
                deadline=self.config.job_deadline,
                on_line=_watch(source, progress),
                env=ffmpeg_errors.REPORT_ENV,
            )
        except child.DeadlineError as error:
            message = f"An internal error has occurred and your job timed out: {error}"
            raise errors.JobFailedError(errors.TIMED_OUT, message) from None
        is_damaged = await asyncio.to_thread(ffmpeg_errors.read_damage, folder) > ffmpeg_errors.MAX_DAMAGE
        if not finished.status and not is_damaged:
            return finished.stderr
        last = (finished.stderr.strip().splitlines() or ["no message"])[-1]
        if CUT_SHORT.search(finished.stderr):
            raise errors.JobFailedError(errors.TRUNCATED, f"Demuxer: [{last}]. Is file truncated?")
        if is_damaged or ffmpeg_errors.DAMAGED.search(finished.stderr):
            raise errors.JobFailedError(errors.BROKEN_STRUCTURE, f"Demuxer: [{last}]")
        raise errors.JobFailedError(errors.UNKNOWN, f"Unknown error [{finished.status}]: {last}")

    async def _tone_map(self, folder: Path) -> str:
        filters: list[str] = []
        argv = [self.config.ffmpeg, "-hide_banner", "-filters"]
        await child.run(argv, cwd=folder, deadline=DEADLINE, on_line=lambda line: filters.extend(line.split()[1:2]))
        return command.TONE_MAPS["zscale" if "zscale" in filters else "scale"]


def _watch(source: Source, progress: Progress) -> Callable[[str], None]:
    def on_line(line: str) -> None:
        name, _, value = line.partition("=")
        if name != "out_time_us" or not value.isdigit() or not source.duration:
            return
        share = min(1.0, int(value) / 1e6 / source.duration)
        progress.phase(Phase.TRANSCODING, PROBED + int(share * (TRANSCODED - PROBED)))

    return on_line
