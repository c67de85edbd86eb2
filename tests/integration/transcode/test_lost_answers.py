"""A request or an answer of MediaConvert is lost: there is one job, and its end is found."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from consumer.queue.outcome import DUPLICATE, IGNORED, SUCCESS, Outcome
from deploy.local.mediaconvert.job import UNFINISHED
from handlers.transcode.handler import TranscodeHandler
from handlers.transcode.mediaconvert import engine as mediaconvert_engine
from handlers.transcode.mediaconvert.engine import MediaConvertEngine
from handlers.transcode.mediaconvert.polled_event import event_of_job
from handlers.transcode.probing.prober import Prober
from media.asset import Asset, StageState, Status
from media.asset_store.stages import Commit
from media.aws.clients import Clients
from media.aws.mediaconvert import Job, Transcoder
from media.aws.s3 import ObjectStorage
from media.errors import Code, Dependency, RetryableError, UnavailableError
from tests.conftest import EmulatedAws
from tests.fakes.mediaconvert import FakeMediaConvert, fake_mediaconvert
from tests.integration.media.conftest import settings_for
from tests.integration.transcode.engine_harness import Harness
from tests.integration.transcode.source_clips import Clip

SMALL = Clip("small", 64, 64, seconds=1.5, channels=0)
DEADLINE = 30.0
ROLE = "arn:aws:iam::000000000000:role/media-mediaconvert"


@dataclass
class LossyTranscoder(Transcoder):
    """Passes requests to `real`, losing answers while `loses_answers`, and requests while `loses_requests`.

    A search finds every job with the status `found_status`, if any.
    """

    real: Transcoder
    loses_answers: bool = False
    loses_requests: bool = False
    found_status: str = ""
    found: list[Job | None] = field(default_factory=list)

    async def create(self, request: Mapping[str, Any]) -> str:
        job_id = "" if self.loses_requests else await self.real.create(request)
        if self.loses_answers or self.loses_requests:
            raise UnavailableError(Dependency.MEDIACONVERT, "no answer")
        return job_id

    async def find(self, input_file: str, *, asset_id: str, attempt: int) -> Job | None:
        job = await self.real.find(input_file, asset_id=asset_id, attempt=attempt)
        self.found.append(replace(job, status=self.found_status) if job and self.found_status else job)
        return self.found[-1]


@dataclass(frozen=True)
class Submitter:
    """Submits an asset's jobs to its own MediaConvert, which finishes them at once and sends no events."""

    harness: Harness
    service: FakeMediaConvert
    transcoder: LossyTranscoder
    asset: Asset

    async def run_stage(self) -> Commit:
        """Run the stage once. A failure releases the claim, as the consumer does."""
        engine = MediaConvertEngine(
            ObjectStorage(self.harness.s3), self.transcoder, self.harness.bucket, ROLE, queue=None
        )
        claim = await self.harness.claim(self.asset)
        try:
            local, recorder = self.harness.ffmpeg_engine(), self.harness.stages.recorder
            handler = TranscodeHandler(ObjectStorage(self.harness.s3), Prober(), engine, recorder, local)
            commit = await handler(claim)
        except (RetryableError, UnavailableError):
            await self.harness.stages.release(claim.fence, forgive=True)
            raise
        await self.harness.stages.commit(claim.fence, commit)
        return commit

    async def run_stage_losing_the_answer(self) -> None:
        with pytest.raises(UnavailableError):
            await self.run_stage()
        self.transcoder.loses_answers = self.transcoder.loses_requests = False

    def jobs(self) -> list[str]:
        return [job.job_id for job in self.service.jobs()]

    async def wait_for_end(self, job_id: str) -> Job:
        """Return the job's document when the job has ended."""
        async with asyncio.timeout(DEADLINE):
            while self.service.store.get(job_id).status in UNFINISHED:  # noqa: ASYNC110 - it notifies only its queue
                await asyncio.sleep(0.01)
        return await self.transcoder.real.get(job_id)

    async def poll(self, job_id: str, **changes: Any) -> Outcome:
        """Poll the job as the reconciler does when no event came. `changes` are made to the job's document."""
        job = await self.wait_for_end(job_id)
        job = replace(job, status=changes.get("Status", job.status), detail={**job.detail, **changes})
        return await self.harness.job_events.apply(event_of_job(job, self.asset))

    async def reload(self) -> Asset:
        return await self.harness.reload(self.asset)


@pytest.fixture
async def submitter(harness: Harness, emulator: EmulatedAws, tmp_path: Path) -> AsyncIterator[Submitter]:
    asset = await harness.add_asset(SMALL.make(tmp_path))
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(fake_mediaconvert(emulator.url, emulator.client_env, tmp_path))
        settings = settings_for(emulator.url).model_copy(update={"mediaconvert_endpoint": service.url})
        transcoder = LossyTranscoder(Transcoder(await Clients(settings, stack).mediaconvert()))
        yield Submitter(harness, service, transcoder, asset)


async def test_lost_answer_is_repeated_for_the_same_token(submitter: Submitter) -> None:
    submitter.transcoder.loses_answers = True
    await submitter.run_stage_losing_the_answer()
    commit = await submitter.run_stage()
    assert submitter.jobs() == [commit.job_id]
    assert submitter.transcoder.found == [], "the token is good for a minute, and says at once"
    assert await submitter.poll(submitter.jobs()[0]) is SUCCESS
    ready = await submitter.reload()
    assert ready.status is Status.READY
    assert all("/transcode-1/" in one.key for one in ready.renditions), "where the first attempt said"


async def test_job_is_searched_for_after_a_minute(submitter: Submitter, monkeypatch: pytest.MonkeyPatch) -> None:
    submitter.transcoder.loses_answers = True
    await submitter.run_stage_losing_the_answer()
    monkeypatch.setattr(mediaconvert_engine, "SAME_TOKEN", 0.0)
    commit = await submitter.run_stage()
    assert submitter.jobs() == [commit.job_id]
    assert [job.job_id for job in submitter.transcoder.found if job] == [commit.job_id]
    assert await submitter.poll(submitter.jobs()[0]) is SUCCESS
    assert (await submitter.reload()).status is Status.READY


async def test_job_absent_for_five_minutes_is_submitted_again(
    submitter: Submitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitter.transcoder.loses_requests = True
    await submitter.run_stage_losing_the_answer()
    monkeypatch.setattr(mediaconvert_engine, "SAME_TOKEN", 0.0)
    with pytest.raises(RetryableError) as caught:
        await submitter.run_stage()
    assert (caught.value.retry_after, submitter.jobs()) == (mediaconvert_engine.SEARCH_AGAIN, [])
    monkeypatch.setattr(mediaconvert_engine, "ABSENT", 0.0)
    commit = await submitter.run_stage()
    assert submitter.jobs() == [commit.job_id]
    assert await submitter.poll(submitter.jobs()[0]) is SUCCESS
    assert all("/transcode-3/" in one.key for one in (await submitter.reload()).renditions)


@pytest.mark.parametrize("status", ["ERROR", "CANCELED"])
async def test_dead_job_is_not_waited_for(status: str, submitter: Submitter, monkeypatch: pytest.MonkeyPatch) -> None:
    submitter.transcoder.loses_answers = True
    await submitter.run_stage_losing_the_answer()
    monkeypatch.setattr(mediaconvert_engine, "SAME_TOKEN", 0.0)
    submitter.transcoder.found_status = status
    commit = await submitter.run_stage()
    assert submitter.jobs()[0] == commit.job_id
    assert len(submitter.jobs()) == 2


async def test_end_without_an_event_is_polled(submitter: Submitter) -> None:
    job_id = (await submitter.run_stage()).job_id
    assert job_id
    assert await submitter.poll(job_id, Status="SUBMITTED", JobPercentComplete=None) is DUPLICATE
    assert await submitter.poll(job_id, Status="PROGRESSING", JobPercentComplete=40) is SUCCESS
    assert (await submitter.reload()).progress == 40
    assert await submitter.poll(job_id, Status="LATER_INVENTED") is IGNORED
    assert await submitter.poll(job_id) is SUCCESS
    assert await submitter.poll(job_id) is DUPLICATE
    assert (await submitter.reload()).status is Status.READY


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"Status": "ERROR", "ErrorCode": 1076, "ErrorMessage": "ends early"}, Status.REJECTED, Code.CORRUPT),
        ({"Status": "CANCELED"}, Status.FAILED, Code.JOB_CANCELED),
        ({"Status": "ERROR", "ErrorCode": 1999}, Status.PROCESSING, None),
    ],
    ids=["input", "canceled", "service"],
)
async def test_failure_without_an_event_is_polled(
    changes: dict[str, Any], status: Status, code: Code | None, submitter: Submitter
) -> None:
    job_id = (await submitter.run_stage()).job_id
    assert job_id
    await submitter.poll(job_id, **changes)
    found = await submitter.reload()
    assert (found.status, found.code) == (status, code)
    again = (await submitter.harness.stage_row(submitter.asset)).state is StageState.QUEUED
    assert again is (status is Status.PROCESSING)
    if again:
        second = (await submitter.run_stage()).job_id
        assert second not in {job_id, None}, "another token, or the dead job would be had again"
