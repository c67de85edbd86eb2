"""`python -m consumer.cli replay`: a new round for what failed, and nothing at all for what ended well."""

import json
from uuid import UUID, uuid4

from media.asset import AssetType, DeliveryClass, ObjectVersion, Stage, StageState, Status, upload_key
from media.asset_store.assets import AssetStore, NewAsset, StoredObject
from media.asset_store.database import Database, connect
from media.asset_store.stages import Claim, Commit, StageStore
from tests.integration.operate.conftest import Desk


async def failed_asset(database: Database, *, status: Status = Status.FAILED) -> UUID:
    """An image whose scan was clean and whose rendering ended as `status`, after two attempts."""
    asset_id = uuid4()
    key = upload_key(AssetType.IMAGE, "dr-house", asset_id, "x.jpg")
    store, stages = AssetStore(database), StageStore(database)
    await store.create(
        NewAsset(asset_id, "dr-house", AssetType.IMAGE, DeliveryClass.PUBLIC, "image/jpeg", "x.jpg", "bucket", key)
    )
    await store.bind(asset_id, StoredObject(ObjectVersion("bucket", key, "v1")))
    scan = await claimed(stages, asset_id, Stage.SCAN)
    await stages.commit(scan.fence, Commit(StageState.DONE, Status.PROCESSING, next_stage=Stage.IMAGE))
    first = await claimed(stages, asset_id, Stage.IMAGE)
    await stages.release(first.fence, forgive=False)
    second = await claimed(stages, asset_id, Stage.IMAGE)
    state = StageState.FAILED if status is Status.FAILED else StageState.DONE
    await stages.commit(second.fence, Commit(state, status, code="attempts_exhausted"))
    return asset_id


async def claimed(stages: StageStore, asset_id: UUID, stage: Stage) -> Claim:
    claim = await stages.claim(asset_id, stage, version_id="v1", lease=30)
    assert isinstance(claim, Claim)
    return claim


async def test_a_failed_asset_gets_a_new_round_with_attempts_from_zero(desk: Desk) -> None:
    async with connect(desk.dsn) as database:
        asset_id = await failed_asset(database)
        ended = await desk.replay(str(asset_id))
        assert (ended.status, ended.out) == (0, f"{asset_id}: image queued\n"), ended.err
        [message] = await desk.bodies(desk.queues["images"].url)
        assert json.loads(message)["asset_id"] == str(asset_id)
        assert await database.fetchval("SELECT count(*) FROM outbox") == 0
        asset = await AssetStore(database).get(asset_id)
        assert asset is not None
        assert (asset.status, asset.code) == (Status.PROCESSING, None)
        assert [e.code for e in await AssetStore(database).timeline(asset_id)][-1] == "replayed"
        claim = await claimed(StageStore(database), asset_id, Stage.IMAGE)
        assert (claim.attempt, claim.tries) == (3, 1)


async def test_another_stage_may_be_named(desk: Desk) -> None:
    async with connect(desk.dsn) as database:
        asset_id = await failed_asset(database)
        ended = await desk.replay(str(asset_id), "--stage", "scan")
        assert ended.status == 0, ended.err
        [message] = await desk.bodies(desk.queues["uploads"].url)
        assert json.loads(message)["type"] == "scan.requested"


async def test_what_is_ready_unknown_or_at_work_stays_as_it_is(desk: Desk) -> None:
    async with connect(desk.dsn) as database:
        ready, busy, unknown = await failed_asset(database, status=Status.READY), await failed_asset(database), uuid4()
        await claimed(StageStore(database), busy, Stage.IMAGE)
        ended = await desk.replay(str(ready), str(busy), str(unknown), "--stage", "image")
        assert ended.status == 1
        assert [line.split(":")[0] for line in ended.err.splitlines()] == [str(ready), str(busy), str(unknown)]
        assert await desk.bodies(desk.queues["images"].url) == []
        assert await database.fetchval("SELECT count(*) FROM timeline WHERE code = 'replayed'") == 0


async def test_json_has_a_line_for_each_asset(desk: Desk) -> None:
    async with connect(desk.dsn) as database:
        failed, unknown = await failed_asset(database), uuid4()
        ended = await desk.replay(str(failed), str(unknown), "--json")
    assert (ended.status, ended.err) == (1, "")
    assert [json.loads(line) for line in ended.out.splitlines()] == [
        {"asset_id": str(failed), "queued": True, "stage": "image", "detail": ""},
        {"asset_id": str(unknown), "queued": False, "stage": None, "detail": "there is no such asset"},
    ]
