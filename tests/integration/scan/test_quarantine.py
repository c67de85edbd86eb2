"""Quarantine on a real S3 and Postgres: an object is copied, verified, removed and noted once, also when repeated."""

from collections.abc import Mapping
from typing import Any, cast
from uuid import uuid4

import pytest

from consumer.stages.outbox_effects import OutboxEffects
from media.asset import DEFAULT_DELIVERY, AssetType, ObjectVersion
from media.asset_store.assets import AssetStore, NewAsset
from media.asset_store.database import connect
from media.aws import s3
from media.aws.mediaconvert import Transcoder
from media.aws.sqs import MessageQueues
from media.cdn.invalidations import Invalidations
from media.errors import RetryableError
from media.outbox import Effect, EffectKind, OutboxRow
from tests.conftest import Database, EmulatedAws
from tests.integration.scan.conftest import ScanStage

CONTENT = bytes(range(256)) * 50_000
NOT_ASKED = cast("Any", None)
PART = 5 * 1024 * 1024


class Moving:
    """An asset whose object has to go to quarantine."""

    def __init__(self, scan_stage: ScanStage, assets: AssetStore, target: str) -> None:
        self.scan_stage, self.assets, self.target = scan_stage, assets, target
        self.effects = OutboxEffects(
            MessageQueues(NOT_ASKED, {}),
            scan_stage.storage,
            Transcoder(NOT_ASKED),
            assets,
            frozenset({scan_stage.bucket}),
            Invalidations(NOT_ASKED, None),
        )

    async def row(self, bucket: str = "") -> OutboxRow:
        asset = await self.scan_stage.asset(CONTENT, bucket=bucket)
        await self.scan_stage.forge(asset.source, {"scan-status": "INFECTED", "why": "a & b"})
        new = NewAsset(
            asset.asset_id,
            "tester",
            AssetType.IMAGE,
            DEFAULT_DELIVERY[AssetType.IMAGE],
            "image/jpeg",
            "file",
            asset.bucket,
            asset.key,
        )
        await self.assets.create(new)
        body: Mapping[str, Any] = {"bucket": asset.bucket, "key": asset.key, "version_id": asset.version_id}
        return OutboxRow(uuid4().int >> 96, asset.asset_id, Effect(EffectKind.QUARANTINE, self.target, body))

    async def dispatch(self, row: OutboxRow) -> None:
        await self.effects.dispatchers()[EffectKind.QUARANTINE]([row])

    async def notes(self, row: OutboxRow) -> list[str]:
        return [entry.code for entry in await self.assets.timeline(row.asset_id)]


def source_of(row: OutboxRow) -> ObjectVersion:
    body = row.effect.body
    return ObjectVersion(body["bucket"], body["key"], body["version_id"])


@pytest.mark.parametrize("part", [PART, 1 << 30])
async def test_object_is_moved_once(
    part: int, scan_stage: ScanStage, emulator: EmulatedAws, postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "COPY_PART", part)
    async with connect(postgres.dsn, application="tests") as database:
        moving = Moving(scan_stage, AssetStore(database), emulator.topology.quarantine_bucket)
        row = await moving.row()
        for _ in range(2):
            await moving.dispatch(row)
            copy = ObjectVersion(moving.target, source_of(row).key)
            assert await scan_stage.storage.read(copy, limit=1 << 30) == CONTENT
            assert (await scan_stage.storage.tags(copy))["why"] == "a & b"
            assert await scan_stage.storage.head(source_of(row)) is None
            assert (await moving.notes(row)).count("quarantined") == 1


async def test_nothing_is_removed_unless_its_copy_is_the_same(
    scan_stage: ScanStage, emulator: EmulatedAws, postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def damaged(self: s3.ObjectStorage, _source: ObjectVersion, bucket: str, key: str) -> None:
        await self.write(bucket, key, CONTENT[:-1] + b"x", "application/octet-stream")

    monkeypatch.setattr(s3.ObjectStorage, "copy", damaged)
    async with connect(postgres.dsn, application="tests") as database:
        moving = Moving(scan_stage, AssetStore(database), emulator.topology.quarantine_bucket)
        row = await moving.row()
        with pytest.raises(RetryableError, match="did not arrive"):
            await moving.dispatch(row)
        assert await scan_stage.storage.head(source_of(row))


async def test_foreign_buckets_are_left_alone(scan_stage: ScanStage, emulator: EmulatedAws, postgres: Database) -> None:
    async with connect(postgres.dsn, application="tests") as database:
        moving = Moving(scan_stage, AssetStore(database), emulator.topology.quarantine_bucket)
        row = await moving.row(bucket=emulator.topology.recordings_bucket)
        with pytest.raises(ValueError, match="not ours"):
            await moving.dispatch(row)
        assert await scan_stage.storage.head(source_of(row))
