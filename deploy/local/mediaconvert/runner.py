"""The queue of jobs: it runs a few at once, cancels them, and resumes after a restart."""

import asyncio
import shutil
import time
from contextlib import suppress
from typing import Protocol

import structlog

from deploy.local.mediaconvert import errors, events
from deploy.local.mediaconvert.config import Config
from deploy.local.mediaconvert.delivery import Delivery
from deploy.local.mediaconvert.events import Envelope
from deploy.local.mediaconvert.job import UNFINISHED, Job, Phase, Status
from deploy.local.mediaconvert.job_store import JobStore
from deploy.local.mediaconvert.probe import Source
from deploy.local.mediaconvert.transcoder import Transcoder

log = structlog.get_logger()

UPDATE_INTERVAL = 1.0
"""Seconds between two STATUS_UPDATE events of one phase. The service's shortest is 10; clips here last less."""
MAX_RETRIES = 2
"""Crashes of the endpoint after which a job is run again, so that one that kills it each time comes to an end."""


class Runner:
    """Owner of every job from CreateJob on. Start one `work()` for each job that may run at a time."""

    def __init__(self, config: Config, store: JobStore, delivery: Delivery, transcoder: Transcoder) -> None:
        self._store = store
        self._config = config
        self._delivery = delivery
        self._transcoder = transcoder
        self._waiting: asyncio.Queue[str] = asyncio.Queue()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._work = config.state / "work"

    def recover(self) -> None:
        """Queue an earlier process's unfinished jobs again and remove its folders. Call before the first `work()`."""
        self._work.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in self._work.iterdir():
            with suppress(errors.RefusedError):
                self._store.get(folder.name)  # a folder without a job is not ours
                shutil.rmtree(folder, ignore_errors=True)
        for job in self._store.unfinished():
            if job.status is Status.SUBMITTED:
                self._waiting.put_nowait(job.job_id)
            elif job.retries >= MAX_RETRIES:
                self._fail(job, errors.JobFailedError(errors.UNKNOWN, "Unknown error: the transcoder died repeatedly"))
            else:
                again = job.but(status=Status.SUBMITTED, retries=job.retries + 1, phase=None, percent=None)
                self._record(again)
                self._waiting.put_nowait(job.job_id)

    def submit(self, job: Job) -> None:
        """Queue a job. Raises RefusedError (TooManyRequestsException) when too many jobs wait already."""
        if self._waiting.qsize() >= self._config.queue_limit:
            raise errors.too_many_requests("Too many jobs are waiting. Try again later.")
        self._record(job)
        self._waiting.put_nowait(job.job_id)

    def cancel(self, job_id: str) -> None:
        """Cancel a job. Raises RefusedError for one that does not exist or has ended."""
        job = self._store.get(job_id)
        if job.status not in UNFINISHED:
            raise errors.conflict(f"The job {job_id} cannot be canceled: its status is {job.status}.")
        over = job.but(status=Status.CANCELED, finished_at=time.time())
        self._record(over, events.canceled(over, self._config))
        if task := self._running.get(job_id):
            task.cancel()

    async def work(self) -> None:
        """Run jobs, one at a time, until canceled. The next `recover` resumes a job that is then under way."""
        while True:
            job_id = await self._waiting.get()
            if self._store.get(job_id).status is not Status.SUBMITTED:
                continue  # Canceled while it waited.
            task = asyncio.create_task(self._run(job_id), name=job_id)
            self._running[job_id] = task
            try:
                await asyncio.wait([task])
            finally:
                # After this the job's children are dead and its folder is gone. An unforeseen error is raised.
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.shield(task)
                del self._running[job_id]

    async def _run(self, job_id: str) -> None:
        folder = self._work / job_id
        folder.mkdir(mode=0o700)
        job = self._store.get(job_id).but(status=Status.PROGRESSING, started_at=time.time())
        self._record(job, events.progressing(job, self._config))
        progress = _JobProgress(job, self._config, self._record)
        try:
            groups = await self._transcoder.run(progress.job, folder, progress)
        except asyncio.CancelledError:
            # The endpoint stops, which is not the job's fault: it waits again. A canceled job has ended and stays so.
            self._record(progress.job.but(status=Status.SUBMITTED, phase=None, percent=None))
            raise
        except errors.JobFailedError as error:
            self._fail(progress.job, error)
        except Exception as error:
            log.exception("job_crashed", job_id=job_id)
            self._fail(progress.job, errors.JobFailedError(errors.UNKNOWN, f"Unknown error: {error!r}"))
        else:
            over = {"status": Status.COMPLETE, "percent": 100, "finished_at": time.time(), "groups": groups}
            done = progress.job.but(**over)
            self._record(done, events.complete(done, self._config))
        finally:
            await asyncio.to_thread(shutil.rmtree, folder)

    def _fail(self, job: Job, error: errors.JobFailedError) -> None:
        over = job.but(status=Status.ERROR, error_code=error.code, error_message=error.message, finished_at=time.time())
        self._record(over, events.failed(over, self._config))

    def _record(self, job: Job, *new_events: Envelope) -> None:
        if not self._store.record(job, *new_events):
            return  # It has ended: canceled while the last lines of its ffmpeg were read.
        self._delivery.wake()
        log.info("job", job_id=job.job_id, status=job.status, phase=job.phase, percent=job.percent, code=job.error_code)


class _Record(Protocol):
    def __call__(self, job: Job, *new_events: Envelope) -> None: ...


class _JobProgress:
    """Records one job's progress and its events, at most once per UPDATE_INTERVAL within a phase."""

    def __init__(self, job: Job, config: Config, record: "_Record") -> None:
        self.job = job
        self._config = config
        self._record = record
        self._reported_at = 0.0

    def phase(self, phase: Phase, percent: int) -> None:
        fresh = phase is not self.job.phase
        if not fresh and (time.monotonic() - self._reported_at < UPDATE_INTERVAL or percent == self.job.percent):
            return
        self._reported_at = time.monotonic()
        self.job = self.job.but(phase=phase, percent=percent)
        self._record(self.job, events.status_update(self.job, self._config))

    def probed(self, source: Source, warnings: tuple[str, ...]) -> None:
        self.job = self.job.but(warnings=warnings)
        self._record(self.job, events.input_information(self.job, self._config, source))
