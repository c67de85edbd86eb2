"""Calls every method of the stores that sends a statement, as the service does, on the assets of `database_load`."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from unittest import mock
from uuid import UUID, uuid4

from media.asset import AssetType, DeliveryClass, ObjectVersion, Rendition, Stage, StageState, Status
from media.asset_store.assets import AssetStore, DeliveryChangeEnd, MultipartUploadStore, NewAsset, StoredObject
from media.asset_store.changes import ChangeFeed, Watched
from media.asset_store.housekeeping import Housekeeping, Retention
from media.asset_store.listing import AssetFilter, PageRequest
from media.asset_store.operations import ConsumerStatus, Operations
from media.asset_store.recovery import Recovery, Replays
from media.asset_store.stage_maintenance import OrphanedOutputs, StageMaintenance, StaleStage
from media.asset_store.stages import Commit, Facts, Fence, Note, StageStore
from media.cdn.invalidations import Invalidations
from media.errors import Code
from media.events.event_outbox import EventOutbox
from media.outbox import Effect, EffectKind, Outbox, OutboxRow
from tests.bench.database_load import HEAVY_OWNER, LIVE, Population, asset_id
from tests.bench.database_meter import MeasuringDatabase

DAY = 86_400.0
SEND = Effect(EffectKind.SEND, "images", {"asset_id": "x"})
Call = tuple[str, Callable[[], Awaitable[object]]]
"""What tells the call apart from others of its method, or nothing, and the call."""


async def call_all(database: MeasuringDatabase, population: Population) -> None:
    """Send every statement, and roll it back. What changes thousands of rows comes last: it leaves dead ones."""
    for calls in (_uploads, _reads, _stages, _upkeep, _outbox, _rounds):
        for note, call in calls(database, population):
            database.note = note
            await call()


def _uploads(database: MeasuringDatabase, population: Population) -> list[Call]:
    assets, parts = AssetStore(database), MultipartUploadStore(database)
    pending, ready = population.newest("pending"), asset_id(population.newest("image", owner=HEAVY_OWNER))
    key = f"uploads/image/{population.owner(pending)}/{asset_id(pending)}/photo-{pending}.jpg"
    image, public = AssetType.IMAGE, DeliveryClass.PUBLIC
    new = NewAsset(uuid4(), HEAVY_OWNER, image, public, "image/jpeg", "x.jpg", "uploads", "k", recording_id="r")
    stored = StoredObject(ObjectVersion("uploads", key, "version"), "etag", 1000)
    other = StoredObject(ObjectVersion("uploads", "elsewhere", "version"), "etag", 1000)
    with_parts = population.newest("parts")
    return [
        ("", lambda: assets.create(new)),
        ("", lambda: assets.bind(asset_id(pending), stored, effects=[SEND])),
        ("none", lambda: assets.bind(ready, other)),
        ("", lambda: parts.remember(asset_id(pending), "upload", 8_388_608)),
        ("", lambda: parts.find(asset_id(with_parts), owner_id=population.owner(with_parts))),
        ("", lambda: assets.delete(ready, [SEND, SEND])),
        ("", lambda: assets.note(ready, "nudged", "x", [SEND])),
        ("late version", lambda: assets.note_late_version(ready, "late", "x", [SEND])),
        ("", lambda: assets.late_version_at(ready)),
        ("", lambda: assets.describe(ready, {"title": "x"})),
        ("delivery", lambda: assets.describe(ready, {"delivery": "webinar_vod"})),
        ("", lambda: assets.end_delivery_change(ready, 1, DeliveryChangeEnd())),
    ]


def _reads(database: MeasuringDatabase, population: Population) -> list[Call]:
    assets, operations = AssetStore(database), Operations(database)
    ready = asset_id(population.newest("image", owner=HEAVY_OWNER))
    middle = (population.created_at(population.total // 2), UUID(int=0))
    small = population.owner(population.newest("image") - 1)
    small = small if small != HEAVY_OWNER else population.owner(population.newest("image") - 2)
    some = [asset_id(number) for number in range(0, 3000, 30)]
    recording = next(n for n in range(population.total) if population.kind(n) == "video" and n % 2)
    calls: list[Call] = [
        ("", lambda: assets.get(ready)),
        ("owner", lambda: assets.get(ready, owner_id=HEAVY_OWNER)),
        ("", lambda: assets.get_recording(f"recording-{recording}")),
        ("", lambda: assets.timeline(ready)),
        ("100", lambda: assets.get_many(some, owner_id=HEAVY_OWNER, originals=some)),
        ("", lambda: assets.job_of(asset_id(population.newest("waiting")))),
        ("", operations.consumers),
        ("", lambda: operations.open_circuits(besides="x")),
        ("", operations.oldest),
        ("", operations.stuck),
        ("", lambda: operations.report(ConsumerStatus("x", "working", [], 1))),
        ("", lambda: operations.unregister("x")),
    ]
    for name, owner in (("administrator", None), ("heavy owner", HEAVY_OWNER), ("owner", small)):
        chosen = AssetFilter(owner_id=owner)
        calls += [
            (name, partial(assets.list_page, chosen, PageRequest())),
            (f"{name}, older", partial(assets.list_page, chosen, PageRequest(after=middle))),
        ]
        calls += [
            (f"{name}, {status}", partial(assets.list_page, replace(chosen, statuses=[status]), PageRequest()))
            for status in Status
        ]
    ages = {"everything": population.now - 2 * timedelta(days=365), "an hour": population.now - timedelta(hours=1)}
    calls += [
        (name, partial(assets.list_changed, owner_id=HEAVY_OWNER, after=(since, UUID(int=0))))
        for name, since in ages.items()
    ]
    return calls


def _stages(database: MeasuringDatabase, population: Population) -> list[Call]:
    stages = StageStore(database)
    backlog, leased, waiting = (population.newest(kind) for kind in ("backlog", "leased", "waiting"))
    fence = Fence(asset_id(leased), Stage.IMAGE, 1)
    live = [
        number for number in range(population.total - LIVE, population.total) if population.kind(number) == "leased"
    ]
    prefix = f"public/image/{population.owner(leased)}/{asset_id(leased)}/image-1"
    made = [Rendition(f"w{n}", f"{prefix}/w{n}.webp", "image/webp", 1000 * n, 10, 10) for n in range(5)]
    commit = Commit(
        StageState.DONE, Status.READY, facts=Facts(width=10), renditions=made, notes=[Note("ready")], effects=[SEND]
    )
    recorder = stages.recorder(fence)
    return [
        ("", lambda: stages.claim(asset_id(backlog), Stage.SCAN, version_id=f"version-{backlog}", lease=60)),
        ("one", lambda: stages.renew([fence], lease=60)),
        ("30", lambda: stages.renew([Fence(asset_id(n), Stage.IMAGE, 1) for n in live[:30]], lease=60)),
        ("", lambda: stages.release(fence, Note("released"), forgive=True)),
        ("", lambda: recorder.record_submission({"rungs": []}, [Note("planned")])),
        ("", lambda: recorder.record_progress(50)),
        ("", lambda: stages.commit(fence, commit)),
        ("", lambda: stages.progress(asset_id(waiting), f"job-{waiting}", 50)),
        ("", lambda: stages.get(asset_id(leased), Stage.IMAGE)),
    ]


def _rounds(database: MeasuringDatabase, population: Population) -> list[Call]:
    replays, recovery = Replays(database), Recovery(database)
    failed, ready = asset_id(population.newest("failed")), asset_id(population.newest("image"))
    waiting = asset_id(population.newest("waiting"))
    some = [asset_id(number) for number in range(0, 1000, 10)]

    async def raise_sequences() -> None:
        fetchval = database.fetchval

        async def first(*call: object) -> None:
            await fetchval(*call)  # type: ignore[arg-type] # as it is called

        with mock.patch.object(database, "fetchval", first):
            await recovery.raise_event_sequences()

    return [
        ("", lambda: replays.stage_at_fault(failed)),
        ("", lambda: replays.reopen(failed, Stage.IMAGE, "x", [SEND])),
        ("", recovery.has_assets),
        ("100", lambda: recovery.get(some)),
        ("", lambda: recovery.raise_attempts(ready, {Stage.IMAGE: 3})),
        ("", lambda: recovery.remind_soon(waiting)),
        ("", raise_sequences),
        ("", lambda: recovery.reject(ready, Code.CORRUPT, "x", [SEND])),
    ]


def _upkeep(database: MeasuringDatabase, population: Population) -> list[Call]:
    upkeep, orphans, assets = StageMaintenance(database), OrphanedOutputs(database), AssetStore(database)
    housekeeping = Housekeeping(database, Retention())
    watched = Watched([asset_id(1)], [f"owner-{n}" for n in range(100)])
    changes = ChangeFeed(database, lambda: watched, lambda *_: None, lambda _: None)
    waiting = asset_id(population.newest("waiting"))

    async def first_poll() -> None:
        await database.connection.execute("DELETE FROM change_feed")
        await changes.poll()
        await database.connection.execute("INSERT INTO change_feed DEFAULT VALUES")

    async def mark_cleaned() -> None:
        asset = await assets.get(asset_id(population.newest("unswept")))
        assert asset
        await orphans.mark_cleaned(StaleStage(asset, Stage.IMAGE, 2))

    return [
        *((stage.value, partial(upkeep.find_stalled, stage)) for stage in Stage),
        ("waiting", lambda: upkeep.find_stalled(Stage.TRANSCODE, waiting=True)),
        ("", lambda: upkeep.record_reminder(waiting, Stage.TRANSCODE)),
        ("", lambda: upkeep.overdue(DAY)),
        ("", lambda: upkeep.expire(asset_id(population.newest("pending")))),
        ("", upkeep.pending),
        ("", lambda: orphans.find_stale(4 * 3600.0)),
        ("", mark_cleaned),
        ("", lambda: upkeep.lease("x")),
        ("", lambda: upkeep.release("x")),
        *((status, partial(housekeeping.purge, status, 30 * DAY)) for status in ("expired", "deleted")),
        ("", housekeeping.prune_changes),
        ("", housekeeping.keep_quiet),
        ("", lambda: housekeeping.drop_plans(30 * DAY)),
        ("", lambda: housekeeping.prune_timelines(180 * DAY)),
        ("first", first_poll),
        ("", changes.poll),
        ("", changes.poll),
    ]


class _NoCache:
    async def invalidate(self, paths: object, reference: str) -> None:
        """Do nothing: only the statements count."""


def _outbox(database: MeasuringDatabase, _: Population) -> list[Call]:
    async def dispatch(_: object) -> None:
        """Do nothing: only the statements count."""

    async def fail(_: object) -> None:
        raise OSError("it is away")

    outbox, failing = Outbox(database, {EffectKind.SEND: dispatch}), Outbox(database, {EffectKind.SEND: fail})
    events = EventOutbox(database)
    one, end = asset_id(101), datetime.now(UTC) + timedelta(hours=1)
    invalidate = Effect(EffectKind.INVALIDATE, f"public/image/{HEAVY_OWNER}/{one}/", {})
    return [
        ("", lambda: outbox.enqueue(one, [SEND])),
        ("", lambda: outbox.enqueue_once(one, [SEND], signature="s", expires_at=end)),
        ("", lambda: outbox.dispatch([OutboxRow(1, one, SEND)])),
        ("", lambda: outbox.dispatch_pending(one)),
        ("", lambda: outbox.keep(OutboxRow(1, one, SEND))),
        ("", lambda: outbox.postpone({1: 60})),
        ("", failing.sweep),
        ("", lambda: events.set_bus("bus")),
        ("", lambda: events.take(10)),
        ("", lambda: events.sent([])),
        ("", lambda: events.failed({uuid4(): "x"})),
        ("", events.oldest_age),
        ("", lambda: Invalidations(database, _NoCache()).dispatch([OutboxRow(1, one, invalidate)])),
    ]
