"""The end of an asset is counted as it was committed: once, by its cause, with the time from the upload's event on."""

import time
from uuid import uuid4

import pytest

from consumer.queue.outcome import OutcomeKind
from consumer.stages.runner import StageRunner
from media.asset import AssetType, DeliveryClass, ObjectVersion, upload_key
from media.asset_store.assets import AssetStore, NewAsset, StoredObject
from tests.faults.stage_harness import StageHarness, fail_with_storage_error, message, render


def value(runner: StageRunner, name: str, **labels: str) -> float:
    return runner.lifecycle.metrics.registry.get_sample_value(f"media_{name}_total", labels) or 0.0


async def test_exhausted_attempts_are_one_bad_event_with_its_cause(stage_harness: StageHarness) -> None:
    asset_id, runner = await stage_harness.asset(), stage_harness.runner(fail_with_storage_error, attempts=2)
    assert (await runner.run(asset_id, "v", message())).kind is OutcomeKind.RETRY
    assert value(runner, "objective_events", slo="image_ready", result="bad") == 0, "it may still become ready"
    assert (await runner.run(asset_id, "v", message())).kind is OutcomeKind.DEAD
    assert (await runner.run(asset_id, "v", message(sent=time.time() - 60))).kind is OutcomeKind.DUPLICATE
    assert value(runner, "objective_events", slo="image_ready", result="bad") == 1
    assert value(runner, "stage_failures", stage="image", code="storage_error") == 2
    ended = {"asset_type": "image", "status": "failed", "code": "attempts_exhausted"}
    assert value(runner, "assets_ended", **ended) == 1


async def test_a_repeated_message_is_no_second_event(stage_harness: StageHarness) -> None:
    asset_id, runner = await stage_harness.asset(), stage_harness.runner(render)
    for expected in (OutcomeKind.SUCCESS, OutcomeKind.DUPLICATE):
        assert (await runner.run(asset_id, "v", message())).kind is expected
    assert value(runner, "objective_events", slo="image_ready", result="good") == 1


@pytest.mark.parametrize(
    ("ago", "waited"), [(40, 40), (-40, 0), (None, 0)], ids=["in a queue", "clock ahead", "unknown"]
)
async def test_the_time_in_a_queue_counts_as_waiting(
    stage_harness: StageHarness,
    ago: float | None,
    waited: float,
) -> None:
    asset_id, store = uuid4(), AssetStore(stage_harness.database)
    key = upload_key(AssetType.IMAGE, "owner", asset_id, "p.png")
    new = NewAsset(asset_id, "owner", AssetType.IMAGE, DeliveryClass.PUBLIC, "image/png", "p.png", "bucket", key)
    await store.create(new)
    notified_at = 0.0 if ago is None else time.time() - ago
    await store.bind(asset_id, StoredObject(ObjectVersion("bucket", key, "v")), notified_at=notified_at)
    query = "SELECT extract(epoch FROM now() - uploaded_at)::float8 FROM assets WHERE asset_id = $1"
    assert await stage_harness.db.fetchval(query, asset_id) == pytest.approx(waited, abs=5)
