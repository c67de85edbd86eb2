"""MediaConvert heard us and we did not hear it, or the other way round: one job, and its end is found."""

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
from tests.integration.transcode.cases import Case
from tests.integration.transcode.studio import Studio

SMALL = Case("small", 64, 64, seconds=1.5, channels=0)
DEADLINE = 30.0
ROLE = "arn:aws:iam::000000000000:role/media-mediaconvert"


@dataclass
class Deaf(Transcoder):
    """Submits through another one and, while `deaf`, never hears the answer; while `mute`, it is not even asked.

    A job that is searched for has `died` with this status, if any.
    """

    real: Transcoder
    deaf: bool = False
    mute: bool = False
    died: str = ""
    found: list[Job | None] = field(default_factory=list)

    async def create(self, request: Mapping[str, Any]) -> str:
        job_id = "" if self.mute else await self.real.create(request)
        if self.deaf or self.mute:
            raise UnavailableError(Dependency.MEDIACONVERT, "no answer")
        return job_id

    async def find(self, input_file: str, *, asset_id: str, attempt: int) -> Job | None:
        job = await self.real.find(input_file, asset_id=asset_id, attempt=attempt)
        self.found.append(replace(job, status=self.died) if job and self.died else job)
        return self.found[-1]


@dataclass(frozen=True)
class Submitter:
    """Submits an asset's jobs to a MediaConvert of its own, which does them in no time and tells nobody."""

    studio: Studio
    service: FakeMediaConvert
    transcoder: Deaf
    asset: Asset

    async def work(self) -> Commit:
        """The stage, once. Whatever goes wrong gives the claim back, as the consumer does."""
        engine = MediaConvertEngine(
            ObjectStorage(self.studio.s3), self.transcoder, self.studio.bucket, ROLE, queue=None
        )
        claim = await self.studio.claim(self.asset)
        try:
            handler = TranscodeHandler(ObjectStorage(self.studio.s3), Prober(), engine, self.studio.stages.recorder)
            commit = await handler(claim)
        except (RetryableError, UnavailableError):
            await self.studio.stages.release(claim.fence, forgive=True)
            raise
        await self.studio.stages.commit(claim.fence, commit)
        return commit

    async def lost(self) -> None:
        with pytest.raises(UnavailableError):
            await self.work()
        self.transcoder.deaf = self.transcoder.mute = False

    def jobs(self) -> list[str]:
        return [job.job_id for job in self.service.jobs()]

    async def ended(self, job_id: str) -> Job:
        """The job's document, once it is over."""
        async with asyncio.timeout(DEADLINE):
            while self.service.store.get(job_id).status in UNFINISHED:  # noqa: ASYNC110 - it tells only its queue
                await asyncio.sleep(0.01)
        return await self.transcoder.real.get(job_id)

    async def asked(self, job_id: str, **changes: Any) -> Outcome:
        """What the reconciler does when no event came; `changes` are to the job's document."""
        job = await self.ended(job_id)
        job = replace(job, status=changes.get("Status", job.status), detail={**job.detail, **changes})
        return await self.studio.job_events.apply(event_of_job(job, self.asset))

    async def now(self) -> Asset:
        return await self.studio.now(self.asset)


@pytest.fixture
async def submitter(studio: Studio, emulator: EmulatedAws, tmp_path: Path) -> AsyncIterator[Submitter]:
    asset = await studio.asset(SMALL.make(tmp_path))
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(fake_mediaconvert(emulator.url, emulator.client_env, tmp_path))
        settings = settings_for(emulator.url).model_copy(update={"mediaconvert_endpoint": service.url})
        transcoder = Deaf(Transcoder(await Clients(settings, stack).mediaconvert()))
        yield Submitter(studio, service, transcoder, asset)


async def test_an_answer_that_was_lost_is_had_again_by_the_same_token(submitter: Submitter) -> None:
    submitter.transcoder.deaf = True
    await submitter.lost()
    commit = await submitter.work()
    assert submitter.jobs() == [commit.job_id]
    assert submitter.transcoder.found == [], "the token is good for a minute, and says at once"
    assert await submitter.asked(submitter.jobs()[0]) is SUCCESS
    ready = await submitter.now()
    assert ready.status is Status.READY
    assert all("/transcode-1/" in one.key for one in ready.renditions), "where the first attempt said"


async def test_after_the_minute_the_job_is_searched_for(submitter: Submitter, monkeypatch: pytest.MonkeyPatch) -> None:
    submitter.transcoder.deaf = True
    await submitter.lost()
    monkeypatch.setattr(mediaconvert_engine, "SAME_TOKEN", 0.0)
    commit = await submitter.work()
    assert submitter.jobs() == [commit.job_id]
    assert [job.job_id for job in submitter.transcoder.found if job] == [commit.job_id]
    assert await submitter.asked(submitter.jobs()[0]) is SUCCESS
    assert (await submitter.now()).status is Status.READY


async def test_a_job_that_is_absent_for_five_minutes_was_never_submitted(
    submitter: Submitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitter.transcoder.mute = True
    await submitter.lost()
    monkeypatch.setattr(mediaconvert_engine, "SAME_TOKEN", 0.0)
    with pytest.raises(RetryableError) as caught:
        await submitter.work()
    assert (caught.value.retry_after, submitter.jobs()) == (mediaconvert_engine.SEARCH_AGAIN, [])
    monkeypatch.setattr(mediaconvert_engine, "ABSENT", 0.0)
    commit = await submitter.work()
    assert submitter.jobs() == [commit.job_id]
    assert await submitter.asked(submitter.jobs()[0]) is SUCCESS
    assert all("/transcode-3/" in one.key for one in (await submitter.now()).renditions)


@pytest.mark.parametrize("status", ["ERROR", "CANCELED"])
async def test_a_job_that_died_meanwhile_is_not_waited_for(
    status: str, submitter: Submitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitter.transcoder.deaf = True
    await submitter.lost()
    monkeypatch.setattr(mediaconvert_engine, "SAME_TOKEN", 0.0)
    submitter.transcoder.died = status
    commit = await submitter.work()
    assert submitter.jobs()[0] == commit.job_id
    assert len(submitter.jobs()) == 2


async def test_an_end_that_nobody_told_is_asked_for(submitter: Submitter) -> None:
    job_id = (await submitter.work()).job_id
    assert job_id
    assert await submitter.asked(job_id, Status="SUBMITTED", JobPercentComplete=None) is DUPLICATE
    assert await submitter.asked(job_id, Status="PROGRESSING", JobPercentComplete=40) is SUCCESS
    assert (await submitter.now()).progress == 40
    assert await submitter.asked(job_id, Status="LATER_INVENTED") is IGNORED
    assert await submitter.asked(job_id) is SUCCESS
    assert await submitter.asked(job_id) is DUPLICATE
    assert (await submitter.now()).status is Status.READY


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"Status": "ERROR", "ErrorCode": 1076, "ErrorMessage": "ends early"}, Status.REJECTED, Code.CORRUPT),
        ({"Status": "CANCELED"}, Status.FAILED, Code.JOB_CANCELED),
        ({"Status": "ERROR", "ErrorCode": 1999}, Status.PROCESSING, None),
    ],
    ids=["input", "cancelled", "service"],
)
async def test_a_failure_that_nobody_told_is_asked_for(
    changes: dict[str, Any], status: Status, code: Code | None, submitter: Submitter
) -> None:
    job_id = (await submitter.work()).job_id
    assert job_id
    await submitter.asked(job_id, **changes)
    found = await submitter.now()
    assert (found.status, found.code) == (status, code)
    again = (await submitter.studio.row(submitter.asset)).state is StageState.QUEUED
    assert again is (status is Status.PROCESSING)
    if again:
        second = (await submitter.work()).job_id
        assert second not in {job_id, None}, "another token, or the dead job would be had again"
