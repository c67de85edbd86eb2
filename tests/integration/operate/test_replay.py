"""`python -m consumer.cli replay` opens a new round for assets that failed, and leaves others as they are."""

import json
from uuid import uuid4

import pytest

from media.asset import Stage, Status
from media.asset_store.assets import AssetStore
from media.asset_store.database import connect
from media.asset_store.stages import StageStore
from tests.integration.operate.conftest import OperatorConsole
from tests.integration.operate.failed_assets import claim_stage, failed_asset


async def test_a_failed_asset_gets_a_new_round_with_attempts_from_zero(console: OperatorConsole) -> None:
    async with connect(console.dsn) as database:
        asset_id = await failed_asset(database)
        ended = await console.replay(str(asset_id))
        assert (ended.status, ended.out) == (0, f"{asset_id}: image queued\n"), ended.err
        [message] = await console.bodies(console.queues["images"].url)
        assert json.loads(message)["asset_id"] == str(asset_id)
        assert await database.fetchval("SELECT count(*) FROM outbox") == 0
        asset = await AssetStore(database).get(asset_id)
        assert asset is not None
        assert (asset.status, asset.code) == (Status.PROCESSING, None)
        assert [e.code for e in await AssetStore(database).timeline(asset_id)][-1] == "replayed"
        claim = await claim_stage(StageStore(database), asset_id, Stage.IMAGE)
        assert (claim.attempt, claim.tries) == (3, 1)


@pytest.mark.parametrize(("stage", "kept"), [("image", {"original"}), ("scan", set[str]())])
async def test_replay_drops_what_the_stage_made_and_what_follows_from_it(
    stage: str, kept: set[str], console: OperatorConsole
) -> None:
    """The pages of a document are drawn from the file that its scan stored."""
    async with connect(console.dsn) as database:
        asset_id = await failed_asset(database)
        for name, made_by in (("original", "scan-1"), ("page-1", "image-1")):
            key = f"processed/document/dr-house/{asset_id}/{made_by}/{name}"
            await database.execute(
                "INSERT INTO renditions VALUES ($1, $2, $3, 'x', 1, 1, 1, 1, 1)", asset_id, name, key
            )
        assert (await console.replay(str(asset_id), "--stage", stage)).status == 0
        asset = await AssetStore(database).get(asset_id)
    assert asset is not None
    assert {rendition.name for rendition in asset.renditions} == kept


async def test_stage_can_be_chosen(console: OperatorConsole) -> None:
    async with connect(console.dsn) as database:
        asset_id = await failed_asset(database)
        ended = await console.replay(str(asset_id), "--stage", "scan")
        assert ended.status == 0, ended.err
        [message] = await console.bodies(console.queues["uploads"].url)
        assert json.loads(message)["type"] == "scan.requested"


async def test_ready_busy_and_unknown_assets_are_not_replayed(console: OperatorConsole) -> None:
    async with connect(console.dsn) as database:
        ready, busy, unknown = await failed_asset(database, status=Status.READY), await failed_asset(database), uuid4()
        await claim_stage(StageStore(database), busy, Stage.IMAGE)
        ended = await console.replay(str(ready), str(busy), str(unknown), "--stage", "image")
        assert ended.status == 1
        assert [line.split(":")[0] for line in ended.err.splitlines()] == [str(ready), str(busy), str(unknown)]
        assert await console.bodies(console.queues["images"].url) == []
        assert await database.fetchval("SELECT count(*) FROM timeline WHERE code = 'replayed'") == 0


async def test_json_has_a_line_for_each_asset(console: OperatorConsole) -> None:
    async with connect(console.dsn) as database:
        failed, unknown = await failed_asset(database), uuid4()
        ended = await console.replay(str(failed), str(unknown), "--json")
    assert (ended.status, ended.err) == (1, "")
    assert [json.loads(line) for line in ended.out.splitlines()] == [
        {"asset_id": str(failed), "queued": True, "stage": "image", "detail": ""},
        {"asset_id": str(unknown), "queued": False, "stage": None, "detail": "there is no such asset"},
    ]
