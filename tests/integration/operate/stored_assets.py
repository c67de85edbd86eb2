"""Assets in each state, with their objects in a bucket: what reconcile-storage compares."""

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from media.asset import AssetType, DeliveryClass, ObjectVersion, Rendition, Stage, StageState, Status, output_prefix
from media.asset import upload_key as key_of
from media.asset_store.assets import AssetStore, NewAsset, StoredObject
from media.asset_store.database import Database
from media.asset_store.stages import Claim, Commit, StageStore
from media.settings import Settings
from tests.integration.operate.conftest import CompletedCommand, OperatorConsole

OWNER = "dr-house"


@dataclass(frozen=True, slots=True)
class Buckets:
    """A versioned bucket, a quarantine bucket and a database of this test alone."""

    console: OperatorConsole
    database: Database
    s3: Any
    settings: Settings

    @property
    def bucket(self) -> str:
        return self.settings.output_bucket

    @property
    def quarantine(self) -> str:
        return self.settings.quarantine_bucket or ""

    @property
    def assets(self) -> AssetStore:
        return AssetStore(self.database)

    async def put(self, key: str, body: bytes = b"bytes", *, bucket: str = "", **more: str) -> str:
        """Store an object; return its version."""
        answer = await self.s3.put_object(Bucket=bucket or self.bucket, Key=key, Body=body, **more)
        return str(answer["VersionId"])

    async def keys(self, prefix: str = "") -> list[str]:
        found = await self.s3.list_object_versions(Bucket=self.bucket, Prefix=prefix)
        return [version["Key"] for version in found.get("Versions", ())]

    async def reconcile(self, *arguments: str, grace: str = "0s") -> tuple[CompletedCommand, list[dict[str, Any]]]:
        """Run the command; return how it ended and the problems that it named."""
        line = ["reconcile-storage", "--json", "--grace", grace, *arguments]
        ended = await self.console.run(line, self.settings)
        *problems, summary = [json.loads(line) for line in ended.out.splitlines()]
        assert summary["finished"]
        return ended, problems

    async def repair(self) -> list[str]:
        """Repair everything; return the problems, by name."""
        ended, problems = await self.reconcile("--repair")
        assert ended.status == 0, (ended.err, problems)
        return [problem["problem"] for problem in problems]

    async def messages(self, queue: str) -> list[str]:
        """Return the assets that the messages of a queue are about."""
        bodies = await self.console.bodies(self.console.queues[queue].url)
        return [json.loads(body)["asset_id"] for body in bodies]

    async def effects(self) -> list[tuple[str, dict[str, Any]]]:
        """Return what waits in the outbox for a consumer."""
        rows = await self.database.fetch("SELECT kind, body FROM outbox ORDER BY id")
        return [(row["kind"], json.loads(row["body"])) for row in rows]

    async def codes(self, asset_id: UUID) -> list[str]:
        return [entry.code for entry in await self.assets.timeline(asset_id)]


@dataclass(frozen=True, slots=True)
class Upload:
    """An asset and its upload's key."""

    asset_id: UUID
    key: str
    version_id: str = ""


def new_key(asset_type: AssetType = AssetType.IMAGE, owner: str = OWNER) -> Upload:
    asset_id = uuid4()
    return Upload(asset_id, key_of(asset_type, owner, asset_id, "photo.jpg"))


async def pending(buckets: Buckets, delivery: DeliveryClass = DeliveryClass.PUBLIC, owner: str = OWNER) -> Upload:
    upload = new_key(owner=owner)
    await buckets.assets.create(
        NewAsset(
            upload.asset_id, owner, AssetType.IMAGE, delivery, "image/jpeg", "photo.jpg", buckets.bucket, upload.key
        )
    )
    return upload


async def uploaded(buckets: Buckets, owner: str = OWNER) -> Upload:
    upload = await pending(buckets, owner=owner)
    version = await buckets.put(upload.key)
    await buckets.assets.bind(upload.asset_id, StoredObject(ObjectVersion(buckets.bucket, upload.key, version)))
    return Upload(upload.asset_id, upload.key, version)


async def claim(buckets: Buckets, upload: Upload, stage: Stage) -> Claim:
    claimed = await StageStore(buckets.database).claim(upload.asset_id, stage, version_id=upload.version_id, lease=30)
    assert isinstance(claimed, Claim)
    return claimed


async def processing(buckets: Buckets) -> Upload:
    upload = await uploaded(buckets)
    scan = await claim(buckets, upload, Stage.SCAN)
    done = Commit(StageState.DONE, Status.PROCESSING, next_stage=Stage.IMAGE)
    await StageStore(buckets.database).commit(scan.fence, done)
    return upload


async def ready(buckets: Buckets) -> tuple[Upload, str]:
    """Make an asset that is ready; return the key of its one rendition, too."""
    upload = await processing(buckets)
    image = await claim(buckets, upload, Stage.IMAGE)
    key = output_prefix(image.asset, Stage.IMAGE, image.attempt) + "w150.webp"
    await buckets.put(key)
    made = Rendition("w150", key, "image/webp", 5, 150, 100)
    await StageStore(buckets.database).commit(image.fence, Commit(StageState.DONE, Status.READY, renditions=[made]))
    return upload, key


async def erase(buckets: Buckets, *keys: str) -> None:
    """Remove every version of these objects."""
    for key in keys:
        found = await buckets.s3.list_object_versions(Bucket=buckets.bucket, Prefix=key)
        for version in found.get("Versions", ()):
            await buckets.s3.delete_object(Bucket=buckets.bucket, Key=key, VersionId=version["VersionId"])


async def status(buckets: Buckets, upload: Upload) -> tuple[Status, str | None]:
    asset = await buckets.assets.get(upload.asset_id)
    assert asset is not None
    return asset.status, asset.code
