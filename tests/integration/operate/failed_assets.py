"""Assets in Postgres that failed, or ended otherwise, as the consumer leaves them."""

from uuid import UUID, uuid4

from media.asset import AssetType, DeliveryClass, ObjectVersion, Stage, StageState, Status, upload_key
from media.asset_store.assets import AssetStore, NewAsset, StoredObject
from media.asset_store.database import Database
from media.asset_store.stages import Claim, Commit, StageStore


async def failed_asset(database: Database, *, status: Status = Status.FAILED) -> UUID:
    """Create an image whose scan was clean and whose rendering ended as `status`, after two attempts."""
    asset_id = uuid4()
    key = upload_key(AssetType.IMAGE, "dr-house", asset_id, "x.jpg")
    store, stages = AssetStore(database), StageStore(database)
    await store.create(
        NewAsset(asset_id, "dr-house", AssetType.IMAGE, DeliveryClass.PUBLIC, "image/jpeg", "x.jpg", "bucket", key)
    )
    await store.bind(asset_id, StoredObject(ObjectVersion("bucket", key, "v1")))
    scan = await claim_stage(stages, asset_id, Stage.SCAN)
    await stages.commit(scan.fence, Commit(StageState.DONE, Status.PROCESSING, next_stage=Stage.IMAGE))
    first = await claim_stage(stages, asset_id, Stage.IMAGE)
    await stages.release(first.fence, forgive=False)
    second = await claim_stage(stages, asset_id, Stage.IMAGE)
    state = StageState.FAILED if status is Status.FAILED else StageState.DONE
    await stages.commit(second.fence, Commit(state, status, code="attempts_exhausted"))
    return asset_id


async def claim_stage(stages: StageStore, asset_id: UUID, stage: Stage) -> Claim:
    claim = await stages.claim(asset_id, stage, version_id="v1", lease=30)
    assert isinstance(claim, Claim)
    return claim
