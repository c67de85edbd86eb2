"""Two copies of a message whose work runs long: one works, the other waits. In virtual time, on a queue in memory."""

import asyncio
import time
from collections.abc import Hashable, Sequence
from typing import Any, cast
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry

from consumer.queue.in_flight import InFlightMessage
from consumer.queue.outcome import Outcome, OutcomeKind
from consumer.queue.retry import RetryPolicy
from consumer.stages.lifecycle import StageLifecycle
from consumer.stages.runner import StageRunner
from media.asset import Stage, StageState, Status
from media.asset_store.assets import AssetStore
from media.asset_store.stages import Claim, Commit, Fence, Refusal, Refused, StageStore
from media.outbox import Outbox, OutboxRow
from media.stage_endings import EndingRules
from media.telemetry import Metrics
from tests.fakes.assets import VIDEO
from tests.fakes.virtual_time import virtual_time
from tests.fakes.workers import Harness, in_flight, until

VISIBILITY = 60.0


class OneStage(StageStore):
    """One stage in memory, with its lease by the loop's clock."""

    def __init__(self) -> None:
        super().__init__(cast("Any", None))
        self.lease_until = 0.0
        self.done = False

    async def claim(
        self, asset_id: UUID, stage: Stage, *, version_id: str, lease: float, asked_at: float = 0.0
    ) -> Claim | Refused:
        del asset_id, version_id, asked_at
        if self.done:
            return Refused(Refusal.DONE)
        remaining = self.lease_until - time.monotonic()
        if remaining > 0:
            return Refused(Refusal.BUSY, remaining)
        self.lease_until = time.monotonic() + lease
        return Claim(VIDEO, stage, 1, 1)

    async def extend(self, leases: Sequence[Hashable]) -> set[Hashable]:
        if leases:
            self.lease_until = time.monotonic() + VISIBILITY
        return set()

    async def commit(self, fence: Fence, commit: Commit) -> list[OutboxRow]:
        del fence, commit
        self.done, self.lease_until = True, 0.0
        return []


class NoOutbox(Outbox):
    """An outbox in which nothing is left."""

    async def dispatch(self, rows: Sequence[OutboxRow]) -> None:
        assert not rows

    async def pending_of(self, asset_id: UUID) -> list[OutboxRow]:
        del asset_id
        return []


def runner(stages: StageStore, seconds: float) -> StageRunner:
    """Make the runner of a stage whose work takes so long."""

    async def work(_claim: Claim) -> Commit:
        await asyncio.sleep(seconds)
        return Commit(StageState.DONE, Status.READY)

    nowhere = cast("Any", None)
    rules, metrics = EndingRules("bucket", max_attempts=5), Metrics(CollectorRegistry())
    outbox = NoOutbox(nowhere, {})
    lifecycle = StageLifecycle(AssetStore(nowhere), stages, outbox, metrics, rules, RetryPolicy(), VISIBILITY)
    return StageRunner(Stage.TRANSCODE, work, lifecycle)


@pytest.mark.parametrize("minutes", [22, 660])
def test_a_second_copy_outlasts_the_work_with_receives_to_spare(minutes: int) -> None:
    @virtual_time
    async def scenario() -> None:
        stages = OneStage()
        harness = Harness(renew=stages.extend)
        stage = runner(stages, minutes * 60.0)
        outcomes: list[Outcome] = []
        receives: list[int] = []

        async def work(_text: str, message: InFlightMessage) -> Outcome:
            outcome = await stage.run(VIDEO.asset_id, "v", message)
            outcomes.append(outcome)
            receives.append(message.received.receive_count)
            return outcome

        await harness.send("copy", "copy")
        async with harness.running(work):
            await until(lambda: not harness.queue.bodies(), deadline=24 * 3600)
        assert [o.kind for o in outcomes if o.kind is not OutcomeKind.RELEASED] == [
            OutcomeKind.SUCCESS,
            OutcomeKind.DUPLICATE,
        ]
        assert max(receives) <= 13, "SQS gives up after 20"
        assert harness.dead.bodies() == []

    scenario()


@virtual_time
async def test_a_copy_that_has_few_receives_left_waits_for_as_long_as_anyone_may_work() -> None:
    """It is on its seventeenth receive, as after an outage, and is received three times more at most."""
    stages = OneStage()
    waited = 0.0
    for receives in range(17, 20):
        stages.lease_until = time.monotonic() + VISIBILITY - 1
        copy = in_flight("r", owner="owner", receives=receives, expires=VISIBILITY)
        outcome = await runner(stages, 0.0).run(VIDEO.asset_id, "v", copy)
        waited += outcome.delay
    assert waited >= 11 * 3600


@virtual_time
async def test_a_lease_that_its_worker_no_longer_renews_is_waited_for_and_no_longer() -> None:
    stages = OneStage()
    stages.lease_until = time.monotonic() + 20
    copy = in_flight("r", owner="owner", receives=12, expires=VISIBILITY)
    outcome = await runner(stages, 0.0).run(VIDEO.asset_id, "v", copy)
    assert 20 <= outcome.delay <= 24
