"""The notes of an asset: each stage's own, replaced by its next commit, and shown without the stage."""

from typing import Any
from uuid import UUID

from media.asset import AssetNote, DocumentInfo, ObjectVersion, Stage, StageState, Status
from media.asset_store.assets import StoredObject
from media.asset_store.stages import Claim, Commit, Facts, StageStore
from tests.integration.api.conftest import MEDIA, RunningApi


async def commit(api: RunningApi, asset_id: UUID, stage: Stage, commit: Commit) -> None:
    """Claim a stage and end it."""
    stages = StageStore(api.service.database)
    claim = await stages.claim(asset_id, stage, version_id="v1", lease=30)
    assert isinstance(claim, Claim)
    await stages.commit(claim.fence, commit)


async def test_notes_and_pages_are_shown(shared_api: RunningApi) -> None:
    slot = await shared_api.announce(asset_type="document", content_type="application/pdf")
    asset_id = UUID(slot["asset_id"])
    assert await shown(shared_api, asset_id) == ([], None)
    asset = await shared_api.service.assets.get(asset_id)
    assert asset is not None
    await shared_api.service.assets.bind(
        asset_id, StoredObject(ObjectVersion(asset.bucket, asset.key, "v1"), "etag", 9)
    )
    info = DocumentInfo("Befund", None, "2024-01-02T03:04:05+00:00")
    first = Facts(page_count=3, document_info=info, notes=[AssetNote("actions_removed", "JavaScript (1)")])
    again = Commit(StageState.QUEUED, Status.SCANNING, facts=first)
    await commit(shared_api, asset_id, Stage.SCAN, again)
    scanned = Facts(notes=[AssetNote("actions_removed", "JavaScript (2)")])
    await commit(
        shared_api,
        asset_id,
        Stage.SCAN,
        Commit(StageState.DONE, Status.PROCESSING, facts=scanned, next_stage=Stage.IMAGE),
    )
    made = Facts(notes=[AssetNote("no_preview")])
    await commit(shared_api, asset_id, Stage.IMAGE, Commit(StageState.DONE, Status.READY, facts=made))
    assert await shown(shared_api, asset_id) == (
        [{"code": "actions_removed", "detail": "JavaScript (2)"}, {"code": "no_preview", "detail": ""}],
        3,
    )
    status, asset_shown = await shared_api.call("GET", f"{MEDIA}/assets/{asset_id}")
    assert status == 200
    assert asset_shown["document_info"] == {
        "title": "Befund",
        "author": None,
        "created": "2024-01-02T03:04:05Z",
        "modified": None,
    }


async def shown(api: RunningApi, asset_id: UUID) -> tuple[Any, Any]:
    """Return notes and pages as the API shows them."""
    status, asset = await api.call("GET", f"{MEDIA}/assets/{asset_id}")
    assert status == 200
    return asset["notes"], asset["page_count"]
