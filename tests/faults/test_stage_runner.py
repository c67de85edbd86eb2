"""Claims and commits on a real database: who may work on a stage, what counts, and what is cleaned up."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from consumer.queue.outcome import OutcomeKind
from media.asset import Rendition, Stage, output_prefix
from media.asset_store.stages import Claim, Commit, StageStore
from media.errors import Code, Dependency, RetryableError, UnavailableError
from media.outbox import EffectKind, Outbox, OutboxRow
from tests.faults.fault_proxies import Fault
from tests.faults.stage_harness import LEASE, Handler, StageHarness, fail_with_storage_error, message, render


async def test_an_error_with_a_code_for_the_last_attempt_rejects_the_file(stage_harness: StageHarness) -> None:
    async def strange(_claim: Claim) -> Commit:
        raise RetryableError(Code.UNFORESEEN, "a strange file", code_when_exhausted=Code.CORRUPT)

    asset_id, runner = await stage_harness.asset(), stage_harness.runner(strange, attempts=2)
    assert (await runner.run(asset_id, "v", message())).kind is OutcomeKind.RETRY
    assert (await runner.run(asset_id, "v", message())).kind is OutcomeKind.REJECTED
    assert (await stage_harness.stage(asset_id))["state"] == "rejected"
    labels = {"stage": "image", "code": "unforeseen"}
    counted = runner.lifecycle.metrics.registry.get_sample_value("media_stage_failures_total", labels)
    assert counted == 2, "our own failure is still counted"


async def test_a_redriven_message_opens_a_new_round_with_attempts_from_zero(stage_harness: StageHarness) -> None:
    asset_id = await stage_harness.asset()
    runner = stage_harness.runner(fail_with_storage_error, attempts=2)
    assert (await runner.run(asset_id, "v", message())).kind is OutcomeKind.RETRY
    assert (await runner.run(asset_id, "v", message())).kind is OutcomeKind.DEAD
    assert (await stage_harness.stage(asset_id))["state"] == "failed"
    redriven = message("another", sent=time.time() + 1)
    assert (await runner.run(asset_id, "v", redriven)).kind is OutcomeKind.RETRY, "the first of a new round"
    row = await stage_harness.stage(asset_id)
    assert (row["attempt"], row["forgiven"]) == (3, 2)
    assert (await stage_harness.runner(render).run(asset_id, "v", redriven)).kind is OutcomeKind.SUCCESS
    assert set(await stage_harness.removed_attempts(asset_id)) == {"image-1", "image-2", "image-3"}, (
        "all but the winner's"
    )


async def test_a_message_sent_before_the_stage_failed_opens_no_new_round(stage_harness: StageHarness) -> None:
    """A duplicate of it, or the same one after a crash: else a file that cannot be rendered would be tried for ever."""
    asset_id = await stage_harness.asset()
    old = time.time()
    runner = stage_harness.runner(fail_with_storage_error, attempts=1)
    assert (await runner.run(asset_id, "v", message(sent=old))).kind is OutcomeKind.DEAD
    assert (await runner.run(asset_id, "v", message("duplicate", sent=old))).kind is OutcomeKind.DUPLICATE
    assert (await runner.run(asset_id, "v", message(sent=old, receives=2))).kind is OutcomeKind.DEAD
    assert (await stage_harness.stage(asset_id))["attempt"] == 1


async def test_a_duplicate_for_a_leased_stage_is_released_and_not_deleted(stage_harness: StageHarness) -> None:
    asset_id = await stage_harness.asset()
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow(claim: Claim) -> Commit:
        begun.set()
        await go.wait()
        return await render(claim)

    first = asyncio.create_task(stage_harness.runner(slow).run(asset_id, "v", message()))
    await begun.wait()
    outcome = await stage_harness.runner(render).run(asset_id, "v", message("duplicate"))
    assert outcome.kind is OutcomeKind.RELEASED
    assert LEASE / 2 < outcome.delay <= LEASE * 1.2
    go.set()
    assert (await first).kind is OutcomeKind.SUCCESS
    assert (await stage_harness.runner(render).run(asset_id, "v", message("duplicate"))).kind is OutcomeKind.DUPLICATE
    assert (await stage_harness.stage(asset_id))["attempt"] == 1, "no attempt was counted"


async def test_a_commit_after_the_lease_was_lost_is_refused_and_its_outputs_are_cleaned_up(
    stage_harness: StageHarness,
) -> None:
    asset_id = await stage_harness.asset()

    async def overtaken(claim: Claim) -> Commit:
        await stage_harness.db.execute(
            "UPDATE stages SET lease_until = now() - interval '1 s' WHERE asset_id = $1", asset_id
        )
        assert (await stage_harness.runner(render).run(asset_id, "v", message("other"))).kind is OutcomeKind.SUCCESS
        return await render(claim)

    assert (await stage_harness.runner(overtaken).run(asset_id, "v", message())).kind is OutcomeKind.RELEASED
    keys = [
        row["key"] for row in await stage_harness.db.fetch("SELECT key FROM renditions WHERE asset_id = $1", asset_id)
    ]
    assert len(keys) == 1
    assert "/image-2/" in keys[0], "the winner's"
    assert set(await stage_harness.removed_attempts(asset_id)) == {"image-1"}, "the loser's, and never the winner's"


async def test_what_a_stage_made_before_and_not_again_is_gone(stage_harness: StageHarness) -> None:
    """A document has fewer pages than before; what its scan stored stays."""
    asset_id, db = await stage_harness.asset(), stage_harness.db

    def making(*names: str) -> Handler:
        async def make(claim: Claim) -> Commit:
            prefix = output_prefix(claim.asset, claim.stage, claim.attempt)
            made = [Rendition(name, f"{prefix}{name}.webp", "image/webp", 1) for name in names]
            return replace(await render(claim), renditions=made)

        return make

    pages = stage_harness.runner(making("w150", "page-1", "page-2", "page-3"))
    assert (await pages.run(asset_id, "v", message())).kind is OutcomeKind.SUCCESS
    await db.execute(
        "INSERT INTO renditions (asset_id, name, key, content_type, bytes, attempt)"
        " SELECT asset_id, 'original', replace(key, 'image-1/page-1', 'scan-1/original'), 'application/pdf', 1, 1"
        " FROM renditions WHERE asset_id = $1 AND name = 'page-1'",
        asset_id,
    )
    await db.execute("UPDATE stages SET state = 'queued' WHERE asset_id = $1 AND stage = 'image'", asset_id)
    await db.execute("UPDATE assets SET status = 'processing' WHERE asset_id = $1", asset_id)
    fewer = stage_harness.runner(making("w150", "page-1"))
    assert (await fewer.run(asset_id, "v", message("again"))).kind is OutcomeKind.SUCCESS
    left = await db.fetch("SELECT name, attempt FROM renditions WHERE asset_id = $1 ORDER BY name", asset_id)
    assert [tuple(row) for row in left] == [("original", 1), ("page-1", 2), ("w150", 2)]
    assert await stage_harness.removed_attempts(asset_id) == ["image-1"]


async def test_a_lease_that_ran_out_is_released_uncounted_when_no_other_worker_took_it(
    stage_harness: StageHarness,
) -> None:
    asset_id = await stage_harness.asset()

    async def overslept(claim: Claim) -> Commit:
        await stage_harness.db.execute(
            "UPDATE stages SET lease_until = now() - interval '1 s' WHERE asset_id = $1", asset_id
        )
        return await render(claim)

    assert (await stage_harness.runner(overslept).run(asset_id, "v", message())).kind is OutcomeKind.RELEASED
    row = await stage_harness.stage(asset_id)
    assert (row["state"], row["attempt"], row["forgiven"]) == ("queued", 1, 1)


async def test_a_commit_outlasts_an_outage_of_postgres(stage_harness: StageHarness) -> None:
    asset_id = await stage_harness.asset()

    async def cut_off(claim: Claim) -> Commit:
        stage_harness.proxy.fault = Fault.CUT
        asyncio.get_running_loop().call_later(2.0, setattr, stage_harness.proxy, "fault", Fault.NONE)
        return await render(claim)

    assert (await stage_harness.runner(cut_off).run(asset_id, "v", message())).kind is OutcomeKind.SUCCESS
    row = await stage_harness.stage(asset_id)
    assert (row["state"], row["attempt"], row["forgiven"]) == ("done", 1, 0)


async def test_a_commit_whose_response_was_lost_counts_and_is_not_cleaned_up(stage_harness: StageHarness) -> None:
    """The commit was written, but the response is lost: the second try must recognize its own success."""
    asset_id = await stage_harness.asset()
    runner = stage_harness.runner(render)
    commit, calls = runner.lifecycle.stages.commit, [0]

    class LosingResponses(StageStore):
        async def commit(self, *arguments: object) -> list[OutboxRow]:
            rows = await commit(*arguments)  # type: ignore[arg-type] # passed on as they came
            calls[0] += 1
            raise UnavailableError(Dependency.POSTGRES, f"the response is lost, with its {len(rows)} rows")

    lifecycle = replace(runner.lifecycle, stages=LosingResponses(stage_harness.database))
    outcome = await replace(runner, lifecycle=lifecycle).run(asset_id, "v", message())
    assert (outcome.kind, calls) == (OutcomeKind.SUCCESS, [1])
    assert await stage_harness.removed_attempts(asset_id) == []


async def test_an_unavailable_dependency_counts_no_attempt(stage_harness: StageHarness) -> None:
    asset_id = await stage_harness.asset()

    async def away(_claim: Claim) -> Commit:
        raise UnavailableError(Dependency.S3, "away")

    for _ in range(5):
        with pytest.raises(UnavailableError):
            await stage_harness.runner(away, attempts=2).run(asset_id, "v", message())
    row = await stage_harness.stage(asset_id)
    assert (row["state"], row["attempt"] - row["forgiven"]) == ("queued", 0)


async def test_a_canceled_worker_releases_its_lease(stage_harness: StageHarness) -> None:
    asset_id = await stage_harness.asset()
    begun = asyncio.Event()

    async def endless(_claim: Claim) -> Commit:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    work = asyncio.create_task(stage_harness.runner(endless).run(asset_id, "v", message()))
    await begun.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    row = await stage_harness.stage(asset_id)
    assert (row["state"], row["attempt"] - row["forgiven"]) == ("queued", 0)


async def test_a_plan_is_dated_by_the_clock_that_dates_the_claims(stage_harness: StageHarness) -> None:
    """Two workers would compare their own clocks, and take a job that was just submitted for one that is lost."""
    asset_id = await stage_harness.asset()

    async def submit(claim: Claim) -> Commit:
        await StageStore(stage_harness.database).recorder(claim.fence).record_submission({"at": time.time() - 3600})
        raise RetryableError(Code.TRANSCODER_ERROR, "the answer was lost")

    await stage_harness.runner(submit).run(asset_id, "v", message())
    claim = await StageStore(stage_harness.database).claim(asset_id, Stage.IMAGE, version_id="v", lease=LEASE)
    assert isinstance(claim, Claim)
    assert claim.plan
    assert 0 <= claim.claimed_at - claim.plan["at"] < LEASE


async def test_last_failure_keeps_its_reason_while_the_clean_up_cannot_be_done(stage_harness: StageHarness) -> None:
    """The dead letter says what went wrong; the outputs are removed by the sweep."""

    async def refuse(_rows: Sequence[OutboxRow]) -> None:
        raise UnavailableError(Dependency.S3, "away")

    asset_id, runner = await stage_harness.asset(), stage_harness.runner(fail_with_storage_error, attempts=1)
    outbox = Outbox(stage_harness.database, dict.fromkeys(EffectKind, refuse))
    outcome = await replace(runner, lifecycle=replace(runner.lifecycle, outbox=outbox)).run(asset_id, "v", message())
    assert (outcome.kind, outcome.error) == (OutcomeKind.DEAD, Code.STORAGE_ERROR)
    assert set(await stage_harness.removed_attempts(asset_id)) == {"image-1"}
