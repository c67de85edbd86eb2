"""What stands still is found and nudged by a real daemon: once at a time, not into a backlog or a paused queue."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

from media.asset import AssetType, DeliveryClass, ObjectVersion, Stage, StageState, Status, output_prefix, upload_key
from media.asset_store.assets import AssetStore, NewAsset, StoredObject
from media.asset_store.database import connect
from media.asset_store.stage_maintenance import FIRST_REMINDER, MAX_REMINDERS
from media.asset_store.stages import Claim, Commit, StageStore
from tests.faults.site import Daemon, Site
from tests.faults.uploads import PDF, PNG, Kind, upload
from tests.faults.wires import Fault

OWNER = "owner-1"
FAST = {"MEDIA_RECONCILE_INTERVAL": "0.3"}
LONG = 700.0
"""Seconds: longer than the silence after which the first nudge comes."""


@asynccontextmanager
async def serving(daemon: Daemon) -> AsyncIterator[Daemon]:
    await daemon.start()
    try:
        yield daemon
        daemon.signal(signal.SIGTERM)
        assert await daemon.ended() == 0, daemon.log.read_text()[-4000:]
    finally:
        await daemon.kill()


async def stored(site: Site, kind: Kind) -> tuple[UUID, StoredObject]:
    """An upload whose event is lost: the object is there, the asset is pending, the queue is empty."""
    async with connect(site.dsn) as database:
        made = await upload(site, AssetStore(database), kind, OWNER)
    await site.sqs.purge_queue(QueueUrl=site.topology.queue_urls["uploads"])
    record = made.notification["Records"][0]["s3"]
    key = await site.db.fetchval("SELECT key FROM assets WHERE asset_id = $1", made.asset_id)
    version = ObjectVersion(site.bucket, key, record["object"]["versionId"])
    return made.asset_id, StoredObject(version, record["object"]["eTag"], len(kind.content))


async def bound(site: Site, kind: Kind) -> UUID:
    """An upload that was announced, and whose message is lost."""
    asset_id, found = await stored(site, kind)
    async with connect(site.dsn) as database:
        await AssetStore(database).bind(asset_id, found)
    return asset_id


async def scanned(site: Site, kind: Kind) -> UUID:
    """An upload whose scan has just ended; its next stage is asked for by nobody."""
    asset_id = await bound(site, kind)
    async with connect(site.dsn) as database:
        stages = StageStore(database)
        version = await site.db.fetchval("SELECT version_id FROM assets WHERE asset_id = $1", asset_id)
        claim = await stages.claim(asset_id, Stage.SCAN, version_id=version, lease=60)
        assert isinstance(claim, Claim)
        await stages.commit(claim.fence, Commit(StageState.DONE, Status.PROCESSING, next_stage=Stage.IMAGE))
    return asset_id


async def age(site: Site, asset_id: UUID, seconds: float = LONG) -> None:
    """As if its stages had not moved for so long."""
    await site.db.execute(
        "UPDATE stages SET updated_at = now() - $2::float8 * interval '1 second' WHERE asset_id = $1", asset_id, seconds
    )


async def nudges(site: Site, asset_id: UUID) -> int:
    return int(
        await site.db.fetchval("SELECT count(*) FROM timeline WHERE asset_id = $1 AND code = 'nudged'", asset_id)
    )


async def rounds(site: Site, count: int = 2) -> None:
    """Until daemons have reconciled so often; what expires, does so after the nudges. One may have begun before."""
    for _ in range(count):
        asset_id = await registered(site)
        await overdue(site, asset_id)
        await site.until("status = 'expired' FROM assets WHERE asset_id = $1", asset_id, deadline=20)


async def registered(site: Site) -> UUID:
    """An upload that is announced and never made."""
    asset_id = uuid4()
    key = upload_key(AssetType.DOCUMENT, OWNER, asset_id, "never.pdf")
    new = NewAsset(
        asset_id, OWNER, AssetType.DOCUMENT, DeliveryClass.COURSE_PDF, "application/pdf", "never.pdf", site.bucket, key
    )
    async with connect(site.dsn) as database:
        assert await AssetStore(database).create(new)
    return asset_id


async def overdue(site: Site, asset_id: UUID) -> None:
    await site.db.execute("UPDATE assets SET created_at = now() - interval '2 days' WHERE asset_id = $1", asset_id)


async def test_a_lost_message_is_sent_again(site: Site) -> None:
    asset_id = await bound(site, PNG)
    async with serving(site.daemon(**FAST)):
        await rounds(site)
        assert await nudges(site, asset_id) == 0, "nothing is nudged that has not stood still for long"
        await age(site, asset_id)
        await site.until("status = 'ready' FROM assets WHERE asset_id = $1", asset_id)
    assert await nudges(site, asset_id) == 1


async def test_a_lost_event_is_found_before_the_upload_expires(site: Site) -> None:
    there, _ = await stored(site, PDF)
    async with serving(site.daemon(**FAST)):
        await rounds(site)
        assert await site.db.fetchval("SELECT status FROM assets WHERE asset_id = $1", there) == "pending"
        await overdue(site, there)
        await site.until("status = 'ready' FROM assets WHERE asset_id = $1", there)


async def test_none_into_a_queue_with_a_backlog_or_one_that_another_daemon_has_paused(site: Site) -> None:
    asset_id = await scanned(site, PNG)
    await age(site, asset_id)
    await asyncio.gather(*(site.send("images", {"type": "strange"}) for _ in range(101)))
    async with serving(site.daemon(**FAST, MEDIA_QUEUES="uploads")):  # nobody drains `images`
        await rounds(site)
        assert await nudges(site, asset_id) == 0
        await site.db.execute("INSERT INTO consumers VALUES ('another', now(), now(), 'running', '{clamd,s3}', 0)")
        await site.purge()
        await rounds(site)
        assert await nudges(site, asset_id) == 0, "another daemon has paused the queue"
        await site.db.execute("DELETE FROM consumers WHERE id = 'another'")
        await site.until("count(*) = 1 FROM timeline WHERE asset_id = $1 AND code = 'nudged'", asset_id)
        await site.until("count(*) = 0 FROM outbox")
        assert (await site.depths())["images"] == 1


async def test_none_into_a_paused_queue(site: Site) -> None:
    asset_id = await bound(site, PDF)
    site.clamd.fault = Fault.CUT
    async with serving(site.daemon(**FAST)):
        async with connect(site.dsn) as database:
            await upload(site, AssetStore(database), PDF, OWNER)
        await site.until("'clamd' = ANY(open_breakers) FROM consumers", deadline=30)
        await age(site, asset_id)
        await rounds(site)
        assert await nudges(site, asset_id) == 0
        site.clamd.fault = Fault.NONE
        await site.until("count(*) = 2 FROM assets WHERE status = 'ready'")
    assert await nudges(site, asset_id) == 1


async def test_each_nudge_waits_twice_as_long_and_six_are_enough(site: Site) -> None:
    asset_id = await scanned(site, PNG)
    await age(site, asset_id)
    async with serving(site.daemon(**FAST, MEDIA_QUEUES="uploads")):
        for count in range(1, MAX_REMINDERS + 1):
            await site.until("nudges = $2 FROM stages WHERE asset_id = $1 AND stage = 'image'", asset_id, count)
            wait = await site.db.fetchval(
                "UPDATE stages s SET nudge_at = now() FROM stages was WHERE s.asset_id = $1 AND s.stage = 'image'"
                " AND (was.asset_id, was.stage) = (s.asset_id, s.stage)"
                " RETURNING extract(epoch FROM was.nudge_at - now())::float8",
                asset_id,
            )
            assert FIRST_REMINDER * 2**count - 60 < wait <= FIRST_REMINDER * 2**count
        await site.until("status = 'failed' AND code = 'stalled' FROM assets WHERE asset_id = $1", asset_id)
    assert await nudges(site, asset_id) == MAX_REMINDERS


async def test_many_daemons_nudge_once_and_one_takes_over_from_another(site: Site) -> None:
    *first, second = [await scanned(site, PNG) for _ in range(6)]
    settings = {**FAST, "MEDIA_QUEUES": "uploads"}
    async with serving(site.daemon(**settings)) as one, serving(site.daemon(**settings)):
        for asset_id in first:
            await age(site, asset_id)
        await site.until("count(*) = 5 FROM timeline WHERE code = 'nudged'")
        await rounds(site)
        assert [await nudges(site, asset_id) for asset_id in first] == [1] * 5
        await one.kill()
        await one.start()
        await age(site, second)
        await site.until("count(*) = 1 FROM timeline WHERE asset_id = $1 AND code = 'nudged'", second)


async def test_what_a_worker_wrote_that_was_thought_dead_goes(site: Site) -> None:
    asset_id = await scanned(site, PNG)
    async with connect(site.dsn) as database:
        version = await site.db.fetchval("SELECT version_id FROM assets WHERE asset_id = $1", asset_id)
        zombie = await StageStore(database).claim(asset_id, Stage.IMAGE, version_id=version, lease=0.1)
    assert isinstance(zombie, Claim)
    lost = output_prefix(zombie.asset, Stage.IMAGE, 1)
    async with serving(site.daemon(**FAST)):
        await age(site, asset_id)
        await site.until("status = 'ready' FROM assets WHERE asset_id = $1", asset_id)
        await site.until("count(*) = 0 FROM outbox")  # the commit's own sweep of earlier attempts is over
        await site.s3.put_object(Bucket=site.bucket, Key=f"{lost}w150.webp", Body=b"late")
        await rounds(site)
        assert await keys_below(site, lost), "so soon, its worker might still be at work"
        await age(site, asset_id, 20_000)
        await site.until("swept_at IS NOT NULL FROM stages WHERE asset_id = $1 AND stage = 'image'", asset_id)
        await site.until("count(*) = 0 FROM outbox")
    assert not await keys_below(site, lost)
    served = await site.db.fetch("SELECT key FROM renditions WHERE asset_id = $1", asset_id)
    assert [row["key"] for row in served] == await keys_below(site, output_prefix(zombie.asset, Stage.IMAGE, 2))


async def keys_below(site: Site, prefix: str) -> list[str]:
    found = await site.s3.list_object_versions(Bucket=site.bucket, Prefix=prefix)
    return [entry["Key"] for entry in [*found.get("Versions", ()), *found.get("DeleteMarkers", ())]]


async def test_uploads_that_never_came_are_forgotten(site: Site) -> None:
    old, young = [await registered(site) for _ in range(2)]
    for asset_id, days in ((old, 31), (young, 29)):
        await site.db.execute(
            "UPDATE assets SET status = 'expired', updated_at = now() - $2 * interval '1 day' WHERE asset_id = $1",
            asset_id,
            days,
        )
    async with serving(site.daemon(**FAST)):
        await site.until("count(*) = 0 FROM assets WHERE asset_id = $1", old)
    assert await site.db.fetchval("SELECT count(*) FROM timeline WHERE asset_id = $1", old) == 0
    assert await site.db.fetchval("SELECT status FROM assets WHERE asset_id = $1", young) == "expired"
