"""Deleted and rejected files leave CloudFront's caches: after the origin, in batches, within CloudFront's limits."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from media.asset import Asset, AssetType, DeliveryClass, Stage, StageState, Status
from media.asset_store.assets import AssetStore, NewAsset
from media.asset_store.database import Database as Store
from media.asset_store.database import connect
from media.asset_store.stages import Claim, Commit
from media.cdn.cloudfront import CloudFrontCache
from media.cdn.invalidations import MOST_PATHS, Invalidations, coalesce
from media.errors import Code, RetryableError
from media.outbox import EffectKind, Outbox
from media.stage_endings import EndingRules
from tests.conftest import Database
from tests.fakes.cloudfront import DISTRIBUTION, FakeCloudFront, running_cloudfront

RULES = EndingRules("media", 5)


@dataclass
class Edge:
    """Assets, and an outbox whose removals at the origin may fail."""

    cloudfront: FakeCloudFront
    database: Store
    cache: CloudFrontCache | None
    origin_is_away: bool = False

    def __post_init__(self) -> None:
        self.assets = AssetStore(self.database)
        self.removed: list[str] = []

        async def remove(rows: Any) -> None:
            if self.origin_is_away:
                raise RetryableError(Code.STORAGE_ERROR, "S3 is away")
            self.removed += [str(row.effect.body["prefix"]) for row in rows]

        async def ignore(_rows: Any) -> None:
            return

        dispatchers = dict.fromkeys(EffectKind, ignore) | {
            EffectKind.DELETE_PREFIX: remove,
            EffectKind.INVALIDATE: Invalidations(self.database, self.cache).dispatch,
        }
        self.outbox = Outbox(self.database, dispatchers)

    async def delete(self, owner: str = "doctor-1", top: str = "public") -> str:
        """Delete an asset that was served from `top`. Return its folder there."""
        asset_id = uuid4()
        key = f"uploads/image/{owner}/{asset_id}/x.jpg"
        new = NewAsset(asset_id, owner, AssetType.IMAGE, DeliveryClass.PUBLIC, "image/jpeg", "x.jpg", "media", key)
        asset = await self.assets.create(new)
        assert asset
        folder = f"{top}/image/{owner}/{asset_id}/"
        await self.database.execute(
            "INSERT INTO renditions (asset_id, name, key, content_type, bytes, attempt)"
            " VALUES ($1, 'w150', $2, 'image/webp', 9, 1)",
            asset_id,
            f"{folder}image-1/w150.webp",
        )
        asset = await self.assets.get(asset_id)
        assert asset
        await self.assets.delete(asset_id, RULES.delete(asset, None))
        return folder

    async def left(self) -> int:
        return int(await self.database.fetchval("SELECT count(*) FROM outbox"))


@pytest.fixture
async def database(postgres: Database) -> AsyncIterator[Store]:
    async with connect(postgres.dsn) as opened:
        yield opened


@pytest.fixture
async def edge(database: Store) -> AsyncIterator[Edge]:
    session = get_session()
    session.set_credentials("test", "test")
    config = AioConfig(retries={"total_max_attempts": 1})
    async with (
        running_cloudfront() as fake,
        session.create_client("cloudfront", endpoint_url=fake.url, region_name="eu-central-1", config=config) as client,
    ):
        yield Edge(fake, database, CloudFrontCache(client, DISTRIBUTION))


async def test_deleted_files_are_gone_at_the_origin_and_then_in_the_caches(edge: Edge) -> None:
    folder = await edge.delete()
    edge.origin_is_away = True
    await edge.outbox.sweep()
    assert edge.cloudfront.batches == {}, "the edge would fetch them again"
    edge.origin_is_away = False
    await edge.database.execute("UPDATE outbox SET due_at = now()")
    await edge.outbox.sweep()
    assert [*edge.cloudfront.batches.values()] == [[f"/{folder}*"]]
    assert folder in edge.removed
    assert await edge.left() == 0


async def test_many_deletions_are_few_paths(edge: Edge) -> None:
    folders = [await edge.delete(f"doctor-{n % 3}") for n in range(MOST_PATHS + 2)]
    await edge.outbox.sweep()
    [paths] = edge.cloudfront.batches.values()
    assert paths == [f"/public/image/doctor-{n}/*" for n in range(3)]
    assert set(folders) <= set(edge.removed)
    assert await edge.left() == 0


async def test_refused_batch_waits_and_is_sent_with_the_next(edge: Edge) -> None:
    edge.cloudfront.in_progress = [f"/public/image/x/{n}/*" for n in range(15)]
    first = await edge.delete()
    await edge.outbox.sweep()
    assert edge.cloudfront.batches == {}
    assert await edge.left() == 1
    edge.cloudfront.in_progress = []
    second = await edge.delete()
    await edge.outbox.sweep()
    assert [*edge.cloudfront.batches.values()] == [sorted([f"/{first}*", f"/{second}*"])]
    assert await edge.left() == 0


async def test_private_files_are_in_no_cache(edge: Edge) -> None:
    asset = await edge.assets.create(
        NewAsset(
            uuid4(), "a", AssetType.IMAGE, DeliveryClass.VERIFICATION_DOCUMENT, "image/jpeg", "x", "media", "uploads/x"
        )
    )
    assert asset
    assert EffectKind.INVALIDATE not in {effect.kind for effect in RULES.withdraw(asset)}


async def test_without_a_distribution_nothing_waits(database: Store) -> None:
    edge = Edge(FakeCloudFront(), database, None)
    await edge.delete()
    await edge.outbox.sweep()
    assert await edge.left() == 0


def test_rejection_after_an_earlier_round_withdraws_what_was_served() -> None:
    asset = asset_of_owner("doctor-1")
    commit = Commit(StageState.REJECTED, Status.REJECTED)
    again = RULES.finish(Claim(asset, Stage.SCAN, attempt=2, tries=1), commit)
    assert [e.target for e in again.effects if e.kind is EffectKind.INVALIDATE] == [
        f"public/image/doctor-1/{asset.asset_id}/"
    ]
    first = RULES.finish(Claim(asset, Stage.SCAN, attempt=1, tries=1), commit)
    assert EffectKind.INVALIDATE not in {effect.kind for effect in first.effects}


def asset_of_owner(owner: str) -> Asset:
    now, key = datetime.now(UTC), "uploads/image/x"
    known = (AssetType.IMAGE, Status.SCANNING, DeliveryClass.PUBLIC, "image/jpeg", "x.jpg", "media", key)
    return Asset(UUID(int=1), owner, *known, now, now)


@pytest.mark.parametrize(
    ("prefixes", "paths"),
    [
        (["public/image/a/1/"], ["/public/image/a/1/*"]),
        ([f"public/image/a/{n}/" for n in range(11)], ["/public/image/a/*"]),
        ([f"public/image/{n}/{n}/" for n in range(11)], ["/public/image/*"]),
        ([f"processed/video/{n}/1/" for n in range(10)], [f"/processed/video/{n}/1/*" for n in range(10)]),
    ],
)
def test_paths_are_of_assets_or_owners_or_types(prefixes: list[str], paths: list[str]) -> None:
    assert coalesce(prefixes) == paths
