"""The scan handler with an emulated S3, a real clamd, and clamds that misbehave."""

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from handlers.held_pictures import HeldPictures
from handlers.scan.clamd.client import Clamd
from handlers.scan.clamd.instream import Address
from handlers.scan.clamd.pool import ScannerPool
from handlers.scan.documents.inspector import DocumentInspector
from handlers.scan.handler import DocumentTools, ScanHandler, ScanPolicy
from media.asset import DEFAULT_DELIVERY, Asset, AssetType, ObjectVersion, Stage, Status
from media.asset_store.stages import Claim, Commit
from media.aws.clients import Clients
from media.aws.s3 import ObjectStorage
from media.aws.s3_transfer import ObjectTransfer
from media.settings import Settings, load
from media.telemetry import Metrics
from tests.conftest import EmulatedAws

CORPUS = Path(__file__).parents[3] / "../shared/corpus"
BOUND = 64 << 20


def corpus(name: str) -> bytes:
    path = CORPUS / name
    if not path.is_file():
        pytest.skip(f"the shared corpus is not beside the repository: {name}")
    content = path.read_bytes()
    return base64.b64decode(content) if name.endswith(".b64") else content


def settings_for(emulator: EmulatedAws, **changes: Any) -> Settings:
    urls = {f"{name.replace('-', '_')}_queue_url": url for name, url in emulator.topology.queue_urls.items()}
    given = {
        "database_url": "postgresql://nowhere",
        "output_bucket": emulator.topology.output_bucket,
        "aws_region": emulator.region,
        "aws_endpoint_url": emulator.url,
    }
    return load(None, **(urls | given | changes))


@dataclass(frozen=True, slots=True)
class ScanStage:
    """Puts objects into S3 and has them scanned."""

    storage: ObjectStorage
    s3: Any
    bucket: str
    documents: DocumentTools

    async def asset(self, content: bytes, asset_type: AssetType = AssetType.IMAGE, bucket: str = "") -> Asset:
        """Store this content, and return an asset that is bound to its version."""
        asset_id, bucket = uuid4(), bucket or self.bucket
        key = f"scanned/{asset_type}/{asset_id}/file"
        put = await self.s3.put_object(Bucket=bucket, Key=key, Body=content)
        now = datetime.now(UTC)
        return Asset(
            asset_id=asset_id,
            owner_id="tester",
            asset_type=asset_type,
            status=Status.SCANNING,
            delivery=DEFAULT_DELIVERY[asset_type],
            content_type="application/octet-stream",
            original_filename="file",
            bucket=bucket,
            key=key,
            created_at=now,
            updated_at=now,
            version_id=put.get("VersionId"),
            etag=put["ETag"].strip('"'),
            size=len(content),
        )

    async def scan(self, asset: Asset, address: Address, **policy: Any) -> Commit:
        """Return the handler's commit. Raises its errors."""
        timeout = policy.pop("timeout", 10.0)
        storage = policy.pop("storage", self.storage)
        chosen: dict[str, Any] = {
            "max_bytes": BOUND,
            "limits": dict.fromkeys(AssetType, BOUND),
            "reencode_unscannable_video": False,
            "own_bucket": self.bucket,
            "quarantine_bucket": "quarantine",
        } | policy
        scanners = ScannerPool([Clamd(address, timeout=timeout)])
        handler = ScanHandler(storage, scanners, ScanPolicy(**chosen), Metrics(), self.documents, HeldPictures())
        return await handler(Claim(asset, Stage.SCAN, attempt=1, tries=1))

    async def read(self, key: str) -> bytes:
        return await self.storage.read(ObjectVersion(self.bucket, key), limit=BOUND)

    async def tags(self, asset: Asset) -> dict[str, str]:
        return await self.storage.tags(asset.source)

    async def forge(self, version: ObjectVersion, tags: dict[str, str]) -> None:
        """Write tags as a foreign party with the right to tag could."""
        entries = [{"Key": key, "Value": value} for key, value in tags.items()]
        await self.s3.put_object_tagging(
            Bucket=version.bucket, Key=version.key, VersionId=version.version_id, Tagging={"TagSet": entries}
        )


@pytest.fixture(scope="session")
async def inspector(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[DocumentInspector, Path]]:
    """One inspector of documents, and the folder that it sees."""
    scratch = tmp_path_factory.mktemp("scanned")
    async with DocumentInspector(scratch, max_bytes=BOUND) as running:
        yield running, scratch


@pytest.fixture
async def scan_stage(
    emulator: EmulatedAws, inspector: tuple[DocumentInspector, Path], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ScanStage]:
    for name, value in emulator.client_env.items():
        monkeypatch.setenv(name, value)
    async with AsyncExitStack() as stack:
        s3 = await Clients(settings_for(emulator), stack).s3()
        documents = DocumentTools(inspector[0], ObjectTransfer(s3), inspector[1])
        yield ScanStage(ObjectStorage(s3), s3, emulator.topology.output_bucket, documents)
