"""A real daemon reminds stages that stand still: one daemon at a time, and into no full or paused queue."""

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
from tests.faults.fault_proxies import Fault
from tests.faults.proxied_services import Daemon, ProxiedServices
from tests.faults.sample_uploads import PDF, PNG, Kind, upload

OWNER = "owner-1"
FAST = {"MEDIA_RECONCILE_INTERVAL": "0.3"}
LONG = 700.0
"""Seconds without progress, longer than before the first reminder."""


@asynccontextmanager
async def running(daemon: Daemon) -> AsyncIterator[Daemon]:
    await daemon.start()
    try:
        yield daemon
        daemon.signal(signal.SIGTERM)
        assert await daemon.ended() == 0, daemon.log.read_text()[-4000:]
    finally:
        await daemon.kill()


async def stored(services: ProxiedServices, kind: Kind) -> tuple[UUID, StoredObject]:
    """Make an upload whose event is lost: the object is there, the asset is pending, the queue is empty."""
    async with connect(services.dsn) as database:
        made = await upload(services, AssetStore(database), kind, OWNER)
    await services.sqs.purge_queue(QueueUrl=services.topology.queue_urls["uploads"])
    record = made.notification["Records"][0]["s3"]
    key = await services.db.fetchval("SELECT key FROM assets WHERE asset_id = $1", made.asset_id)
    version = ObjectVersion(services.bucket, key, record["object"]["versionId"])
    return made.asset_id, StoredObject(version, record["object"]["eTag"], len(kind.content))


async def bound(services: ProxiedServices, kind: Kind) -> UUID:
    """Make an upload that is bound, and whose message is lost."""
    asset_id, found = await stored(services, kind)
    async with connect(services.dsn) as database:
        await AssetStore(database).bind(asset_id, found)
    return asset_id


async def scanned(services: ProxiedServices, kind: Kind) -> UUID:
    """Make an upload whose scan has ended, and whose next stage was not requested."""
    asset_id = await bound(services, kind)
    async with connect(services.dsn) as database:
        stages = StageStore(database)
        version = await services.db.fetchval("SELECT version_id FROM assets WHERE asset_id = $1", asset_id)
        claim = await stages.claim(asset_id, Stage.SCAN, version_id=version, lease=60)
        assert isinstance(claim, Claim)
        await stages.commit(claim.fence, Commit(StageState.DONE, Status.PROCESSING, next_stage=Stage.IMAGE))
    return asset_id


async def age(services: ProxiedServices, asset_id: UUID, seconds: float = LONG) -> None:
    """Pretend that its stages have not moved for so long."""
    await services.db.execute(
        "UPDATE stages SET updated_at = now() - $2::float8 * interval '1 second' WHERE asset_id = $1", asset_id, seconds
    )


async def reminders(services: ProxiedServices, asset_id: UUID) -> int:
    return int(
        await services.db.fetchval("SELECT count(*) FROM timeline WHERE asset_id = $1 AND code = 'nudged'", asset_id)
    )


async def wait_for_rounds(services: ProxiedServices, count: int = 2) -> None:
    """Wait for so many rounds, which expire uploads after the reminders. The first may have begun before."""
    for _ in range(count):
        asset_id = await registered(services)
        await overdue(services, asset_id)
        await services.until("status = 'expired' FROM assets WHERE asset_id = $1", asset_id, deadline=20)


async def registered(services: ProxiedServices) -> UUID:
    """Announce an upload that is never made."""
    asset_id = uuid4()
    key = upload_key(AssetType.DOCUMENT, OWNER, asset_id, "never.pdf")
    new = NewAsset(
        asset_id,
        OWNER,
        AssetType.DOCUMENT,
        DeliveryClass.COURSE_PDF,
        "application/pdf",
        "never.pdf",
        services.bucket,
        key,
    )
    async with connect(services.dsn) as database:
        assert await AssetStore(database).create(new)
    return asset_id


async def overdue(services: ProxiedServices, asset_id: UUID) -> None:
    await services.db.execute("UPDATE assets SET created_at = now() - interval '2 days' WHERE asset_id = $1", asset_id)


async def test_a_lost_message_is_sent_again_and_a_lost_event_is_found(services: ProxiedServices) -> None:
    waiting, (there, _) = await bound(services, PNG), await stored(services, PDF)
    async with running(services.daemon(**FAST)):
        await wait_for_rounds(services)
        assert await reminders(services, waiting) == 0, "no reminder before the stage has stood still for long"
        assert await services.db.fetchval("SELECT status FROM assets WHERE asset_id = $1", there) == "pending"
        await age(services, waiting)
        await overdue(services, there)  # the object is looked for before the upload expires
        await services.until("count(*) = 2 FROM assets WHERE status = 'ready'")
    assert await reminders(services, waiting) == 1


async def test_no_reminder_into_a_full_queue_or_one_that_another_daemon_has_paused(services: ProxiedServices) -> None:
    asset_id = await scanned(services, PNG)
    await age(services, asset_id)
    await asyncio.gather(*(services.send("images", {"type": "unknown"}) for _ in range(101)))
    async with running(services.daemon(**FAST, MEDIA_QUEUES="uploads")):  # no daemon drains `images`
        await wait_for_rounds(services)
        assert await reminders(services, asset_id) == 0
        await services.db.execute("INSERT INTO consumers VALUES ('another', now(), now(), 'running', '{clamd,s3}', 0)")
        await services.purge()
        await wait_for_rounds(services)
        assert await reminders(services, asset_id) == 0, "another daemon has paused the queue"
        await services.db.execute("DELETE FROM consumers WHERE id = 'another'")
        await services.until("count(*) = 1 FROM timeline WHERE asset_id = $1 AND code = 'nudged'", asset_id)
        await services.until("count(*) = 0 FROM outbox")
        assert (await services.depths())["images"] == 1


async def test_no_reminder_into_a_paused_queue(services: ProxiedServices) -> None:
    asset_id = await bound(services, PDF)
    services.clamd.fault = Fault.CUT
    async with running(services.daemon(**FAST)):
        async with connect(services.dsn) as database:
            await upload(services, AssetStore(database), PDF, OWNER)
        await services.until("'clamd' = ANY(open_breakers) FROM consumers", deadline=30)
        await age(services, asset_id)
        await wait_for_rounds(services)
        assert await reminders(services, asset_id) == 0
        services.clamd.fault = Fault.NONE
        await services.until("count(*) = 2 FROM assets WHERE status = 'ready'")
    assert await reminders(services, asset_id) == 1


@asynccontextmanager
async def losing_messages(services: ProxiedServices) -> AsyncIterator[None]:
    """Lose all messages. A stage whose request may still lie in its queue is not stalled."""

    async def lose() -> None:
        while True:
            await services.purge()
            await asyncio.sleep(0.1)

    losing = asyncio.create_task(lose())
    try:
        yield
    finally:
        losing.cancel()
        await asyncio.wait([losing])


async def test_each_reminder_waits_twice_as_long_and_after_six_the_stage_fails(services: ProxiedServices) -> None:
    asset_id = await scanned(services, PNG)
    await age(services, asset_id)
    async with running(services.daemon(**FAST, MEDIA_QUEUES="uploads")), losing_messages(services):
        for count in range(1, MAX_REMINDERS + 1):
            await services.until("nudges = $2 FROM stages WHERE asset_id = $1 AND stage = 'image'", asset_id, count)
            wait = await services.db.fetchval(
                "UPDATE stages s SET nudge_at = now() FROM stages was WHERE s.asset_id = $1 AND s.stage = 'image'"
                " AND (was.asset_id, was.stage) = (s.asset_id, s.stage)"
                " RETURNING extract(epoch FROM was.nudge_at - now())::float8",
                asset_id,
            )
            assert FIRST_REMINDER * 2**count - 60 < wait <= FIRST_REMINDER * 2**count
        await services.until("status = 'failed' AND code = 'stalled' FROM assets WHERE asset_id = $1", asset_id)
    assert await reminders(services, asset_id) == MAX_REMINDERS


async def test_many_daemons_remind_once_and_one_takes_over_from_another(services: ProxiedServices) -> None:
    *first, second = [await scanned(services, PNG) for _ in range(6)]
    async with running(services.daemon(**FAST)) as one, running(services.daemon(**FAST)):
        for asset_id in first:
            await age(services, asset_id)
        await services.until("count(*) = 5 FROM timeline WHERE code = 'nudged'")
        await wait_for_rounds(services)
        assert [await reminders(services, asset_id) for asset_id in first] == [1] * 5
        await one.kill()
        await one.start()
        await age(services, second)
        await services.until("count(*) = 1 FROM timeline WHERE asset_id = $1 AND code = 'nudged'", second)


async def test_outputs_of_a_worker_that_was_thought_dead_are_removed(services: ProxiedServices) -> None:
    asset_id = await scanned(services, PNG)
    async with connect(services.dsn) as database:
        version = await services.db.fetchval("SELECT version_id FROM assets WHERE asset_id = $1", asset_id)
        zombie = await StageStore(database).claim(asset_id, Stage.IMAGE, version_id=version, lease=0.1)
    assert isinstance(zombie, Claim)
    lost = output_prefix(zombie.asset, Stage.IMAGE, 1)
    async with running(services.daemon(**FAST)):
        await age(services, asset_id)
        await services.until("status = 'ready' FROM assets WHERE asset_id = $1", asset_id)
        await services.until("count(*) = 0 FROM outbox")  # the commit's own clean-up of earlier attempts is over
        await services.s3.put_object(Bucket=services.bucket, Key=f"{lost}w150.webp", Body=b"late")
        await wait_for_rounds(services)
        assert await keys_below(services, lost), "its worker might still be writing"
        await age(services, asset_id, 20_000)
        await services.until("swept_at IS NOT NULL FROM stages WHERE asset_id = $1 AND stage = 'image'", asset_id)
        await services.until("count(*) = 0 FROM outbox")
    assert not await keys_below(services, lost)
    served = await services.db.fetch("SELECT key FROM renditions WHERE asset_id = $1", asset_id)
    assert [row["key"] for row in served] == await keys_below(services, output_prefix(zombie.asset, Stage.IMAGE, 2))


async def keys_below(services: ProxiedServices, prefix: str) -> list[str]:
    found = await services.s3.list_object_versions(Bucket=services.bucket, Prefix=prefix)
    return [entry["Key"] for entry in [*found.get("Versions", ()), *found.get("DeleteMarkers", ())]]


async def test_records_of_uploads_that_never_came_are_deleted(services: ProxiedServices) -> None:
    old, young = [await registered(services) for _ in range(2)]
    for asset_id, days in ((old, 31), (young, 29)):
        await services.db.execute(
            "UPDATE assets SET status = 'expired', updated_at = now() - $2 * interval '1 day' WHERE asset_id = $1",
            asset_id,
            days,
        )
    async with running(services.daemon(**FAST)):
        await services.until("count(*) = 0 FROM assets WHERE asset_id = $1", old)
    assert await services.db.fetchval("SELECT count(*) FROM timeline WHERE asset_id = $1", old) == 0
    assert await services.db.fetchval("SELECT status FROM assets WHERE asset_id = $1", young) == "expired"
