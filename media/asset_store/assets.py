"""Register assets, bind each to one object version, read, list and delete them."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from media.asset import Asset, AssetType, DeliveryClass, ObjectVersion, Stage, StageState, Status, TimelineEntry
from media.asset_store.database import Database
from media.asset_store.listing import PAGE_LIMIT, AssetFilter, AssetPage, PageRequest, PageStatement
from media.asset_store.rows import RENDITIONS_AS_JSON, asset_of, timeline_entry_of
from media.asset_store.statements import DESCRIBE, END_DELIVERY_CHANGE
from media.contracts import METADATA_BYTES, METADATA_KEYS
from media.outbox import Effect, OutboxRow, effects_as_json, outbox_row

LATE_VERSIONS_NOTED = 10
"""Most entries of one asset's timeline about uploads that are removed. Its owner may PUT as often as they like."""


@dataclass(frozen=True, slots=True)
class NewAsset:
    """An asset before its bytes are there."""

    asset_id: UUID
    owner_id: str
    asset_type: AssetType
    delivery: DeliveryClass
    content_type: str
    original_filename: str
    bucket: str
    key: str
    declared_size: int | None = None
    title: str | None = None
    webinar_id: str | None = None
    recording_id: str | None = None
    recorded_at: datetime | None = None
    trace_id: str = ""
    external_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    announced: str | None = None


@dataclass(frozen=True, slots=True)
class MultipartUpload:
    """The multipart upload that an asset waits for. `part_size` is bytes.

    Its upload id leaves this service only in signed URLs.
    """

    asset: Asset
    upload_id: str
    part_size: int


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object version in S3. A field that S3's event does not carry is None; `size` is bytes."""

    version: ObjectVersion
    etag: str | None = None
    size: int | None = None
    sequencer: str | None = None
    content_type: str | None = None


class Binding(StrEnum):
    """The result of binding an asset to an object version."""

    BOUND = "bound"  # now, by this call
    SAME = "same"  # this very version was bound before
    OTHER = "other"  # another version is bound: this one must go
    GONE = "gone"  # the asset is deleted: this version must go
    UNKNOWN = "unknown"  # no such asset, or not this key


class Description(StrEnum):
    """The result of changing what an asset says of itself."""

    CHANGED = "changed"
    SAME = "same"  # it said all of it before
    TOO_LARGE = "too_large"  # the metadata would be
    NOT_READY = "not_ready"  # or a stage is open: its delivery cannot be changed
    DELIVERY_CHANGING = "delivery_changing"  # to another one
    GONE = "gone"  # deleted, or never there


@dataclass(frozen=True, slots=True)
class DeliveryChangeEnd:
    """The end of a change of delivery: keys by the renditions' names, before and after; None: it is given up.

    `effects` become due after `delay` seconds.
    """

    old_keys: Mapping[str, str] = field(default_factory=dict)
    new_keys: Mapping[str, str] | None = None
    reason: str = ""
    effects: Sequence[Effect] = ()
    delay: float = 0.0


_ANNOUNCED = [each.name for each in fields(NewAsset) if each.name != "recorded_at"]  # what an asset has as well
_OPEN_STAGES = [StageState.QUEUED.value, StageState.LEASED.value, StageState.WAITING.value]

_CREATE = """
WITH created AS (
    INSERT INTO assets (asset_id, owner_id, asset_type, delivery, content_type, original_filename, bucket, key,
                        declared_size, title, webinar_id, recording_id, recorded_at, trace_id, external_id, metadata,
                        announced)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16::jsonb, $17)
    ON CONFLICT DO NOTHING RETURNING asset_id, created_at),
noted AS (INSERT INTO timeline (asset_id, code) SELECT asset_id, 'created' FROM created)
SELECT created_at FROM created
"""

_BIND = """
WITH bound AS (
    UPDATE assets SET version_id = $4, etag = $5, size = coalesce($6, size), sequencer = $7, status = 'uploaded',
                      uploaded_at = least(now(), coalesce(to_timestamp($11::float8), now())), updated_at = now()
    WHERE asset_id = $1 AND bucket = $2 AND key = $3 AND version_id IS NULL AND status = ANY($8::text[])
    RETURNING asset_id),
staged AS (INSERT INTO stages (asset_id, stage) SELECT asset_id, 'scan' FROM bound ON CONFLICT DO NOTHING),
noted AS (INSERT INTO timeline (asset_id, code, detail) SELECT asset_id, 'uploaded', $10 FROM bound),
sent AS (
    INSERT INTO outbox (asset_id, kind, target, body, group_id)
    SELECT asset_id, e.kind, e.target, e.body, e.group_id
    FROM bound, jsonb_to_recordset($9::jsonb) AS e(kind text, target text, body jsonb, group_id text) RETURNING *)
SELECT (SELECT jsonb_agg(id ORDER BY id) FROM sent) AS sent FROM bound
"""

_BOUND = "SELECT version_id, etag, status FROM assets WHERE asset_id = $1 AND bucket = $2 AND key = $3"
"""A statement of its own: a CTE beside an UPDATE that waited for a lock would read what was there before the wait."""

_BIND_SOURCES = [Status.PENDING.value, Status.EXPIRED.value]

_REMEMBER = """
UPDATE assets SET upload_id = $2, part_size = $3
WHERE asset_id = $1 AND upload_id IS NULL AND version_id IS NULL AND status IN ('pending', 'expired')
RETURNING asset_id
"""

_DELETE = """
WITH gone AS (
    UPDATE assets SET status = 'deleted', pending_delivery = NULL, updated_at = now()
    WHERE asset_id = $1 AND status <> 'deleted'
    RETURNING asset_id),
cancelled AS (
    UPDATE stages s SET state = 'cancelled', lease_until = NULL, updated_at = now()
    FROM gone WHERE s.asset_id = gone.asset_id AND s.state IN ('queued', 'leased', 'waiting')),
dropped AS (DELETE FROM renditions r USING gone WHERE r.asset_id = gone.asset_id),
noted AS (INSERT INTO timeline (asset_id, code) SELECT asset_id, 'deleted' FROM gone),
sent AS (
    INSERT INTO outbox (asset_id, kind, target, body, due_at)
    SELECT asset_id, e.kind, e.target, e.body, now()
    FROM gone, jsonb_to_recordset($2::jsonb) AS e(kind text, target text, body jsonb))
SELECT count(*) FROM gone
"""


class AssetStore:
    """Reads and writes assets. Every method raises UnavailableError when Postgres is down."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, new: NewAsset) -> Asset | None:
        """Register an asset as `pending`. Returns None when it, or its recording, is registered already."""
        created_at = await self._database.fetchval(
            _CREATE,
            new.asset_id,
            new.owner_id,
            new.asset_type,
            new.delivery,
            new.content_type,
            new.original_filename,
            new.bucket,
            new.key,
            new.declared_size,
            new.title,
            new.webinar_id,
            new.recording_id,
            new.recorded_at,
            new.trace_id,
            new.external_id,
            json.dumps(dict(new.metadata)),
            new.announced,
        )
        if created_at is None:
            return None
        announced = {name: getattr(new, name) for name in _ANNOUNCED}
        return Asset(status=Status.PENDING, created_at=created_at, updated_at=created_at, **announced)

    async def bind(
        self,
        asset_id: UUID,
        stored: StoredObject,
        *,
        effects: Sequence[Effect] = (),
        note: str = "",
        notified_at: float = 0.0,
    ) -> tuple[Binding, list[OutboxRow]]:
        """Bind an asset to one object version, once, and queue its scan. `effects` are written only when it was bound.

        In a bucket without versions the ETag shows whether it is the same object. Of two versions the first one that
        is bound stays; the sequencer is stored for diagnosis. `notified_at` (Unix seconds, 0: now) is when S3 sent the
        event: the owner waits while it lies in a queue, so `uploaded_at` must not be later.
        """
        version = stored.version
        record = await self._database.fetchrow(
            _BIND,
            asset_id,
            version.bucket,
            version.key,
            version.version_id,
            stored.etag,
            stored.size,
            stored.sequencer,
            _BIND_SOURCES,
            effects_as_json(effects),
            note,
            notified_at or None,
        )
        if record is not None:
            rows = [OutboxRow(i, asset_id, e) for i, e in zip(json.loads(record["sent"] or "[]"), effects, strict=True)]
            return Binding.BOUND, rows
        record = await self._database.fetchrow(_BOUND, asset_id, version.bucket, version.key)
        if record is None:
            return Binding.UNKNOWN, []
        if record["status"] == Status.DELETED:
            return Binding.GONE, []
        same = record["version_id"] == version.version_id and (version.version_id or record["etag"] == stored.etag)
        return Binding.SAME if same else Binding.OTHER, []

    async def get(self, asset_id: UUID, *, owner_id: str | None = None) -> Asset | None:
        """Return one asset with its renditions, or None. With `owner_id`, only if it is that owner's."""
        record = await self._database.fetchrow(
            f"SELECT a.*, {RENDITIONS_AS_JSON} AS renditions FROM assets a"
            " WHERE a.asset_id = $1 AND ($2::text IS NULL OR a.owner_id = $2)",
            asset_id,
            owner_id,
        )
        return asset_of(record) if record else None

    async def get_many(
        self, asset_ids: Collection[UUID], *, owner_id: str | None, originals: Collection[UUID] = ()
    ) -> dict[UUID, tuple[Asset, bool]]:
        """Return those of some assets that exist (and are that owner's) by their ids, with their renditions.

        The flag says of those in `originals` whether the last scan with an end read the whole file and found it clean.
        """
        records = await self._database.fetch(
            f"SELECT a.*, {RENDITIONS_AS_JSON} AS renditions, CASE WHEN a.asset_id = ANY($3::uuid[]) THEN ("
            "SELECT t.code = 'clean' FROM timeline t WHERE t.asset_id = a.asset_id AND t.stage = 'scan'"
            " AND t.code IN ('clean', 'infected', 'unscannable') ORDER BY t.id DESC LIMIT 1) END AS was_scanned_whole"
            " FROM assets a WHERE a.asset_id = ANY($1::uuid[]) AND ($2::text IS NULL OR a.owner_id = $2)",
            list(asset_ids),
            owner_id,
            list(originals),
        )
        return {record["asset_id"]: (asset_of(record), bool(record["was_scanned_whole"])) for record in records}

    async def get_recording(self, recording_id: str) -> Asset | None:
        """Return the asset that a recording was registered as, without its renditions."""
        record = await self._database.fetchrow("SELECT * FROM assets WHERE recording_id = $1", recording_id)
        return asset_of(record) if record else None

    async def list_page(self, chosen: AssetFilter, page: PageRequest) -> AssetPage:
        """Return one page of the assets that a filter chooses, in one statement."""
        statement = PageStatement(chosen, page)
        records = await self._database.fetch(statement.text, *statement.values)
        # A total comes with a row, even where the page has none.
        assets = [asset_of(record) for record in records if record["asset_id"] is not None]
        total = records[0]["total"] if page.is_counted else None
        return AssetPage(assets[: statement.limit], len(assets) > statement.limit, total)

    async def list_changed(
        self, *, owner_id: str, after: tuple[datetime, UUID], limit: int = PAGE_LIMIT
    ) -> list[Asset]:
        """Return an owner's assets, oldest change first.

        `after` is `updated_at` and id of the last asset of the previous page.
        """
        records = await self._database.fetch(
            f"SELECT a.*, {RENDITIONS_AS_JSON} AS renditions FROM assets a"
            # As in `listing`: compared as one row, and by an expression that no other index begins with.
            " WHERE (owner_id || '', updated_at, asset_id) > ($1, $2, $3::uuid)"
            " AND (owner_id || '', updated_at) <= ($1, 'infinity') ORDER BY owner_id || '', updated_at, asset_id"
            f" LIMIT {min(limit, PAGE_LIMIT):d}",
            owner_id,
            *after,
        )
        return [asset_of(record) for record in records]

    async def describe(self, asset_id: UUID, patch: Mapping[str, object], *, keep: float = 0.0) -> Description:
        """Change `title`, `external_id`, `metadata` and `delivery` as a JSON merge patch says (RFC 7396). Repeatable.

        What is not in the patch stays, None clears. Two patches of one asset at once are both applied. A new `delivery`
        is pending until the files are copied. What was not public then stays where it is for `keep` seconds more.
        """
        found = await self._database.fetchval(
            DESCRIBE,
            asset_id,
            json.dumps(dict(patch)),
            METADATA_KEYS,
            METADATA_BYTES,
            keep,
            _OPEN_STAGES,
        )
        return Description(found)

    async def end_delivery_change(self, asset_id: UUID, number: int, end: DeliveryChangeEnd) -> bool:
        """Switch to the pending delivery in one commit, or give it up. False when the asset is not as it was read."""
        switched = await self._database.fetchval(
            END_DELIVERY_CHANGE,
            asset_id,
            number,
            None if end.new_keys is None else json.dumps(dict(end.old_keys)),
            None if end.new_keys is None else json.dumps(dict(end.new_keys)),
            f": {end.reason}"[:2000] if end.reason else "",
            effects_as_json(end.effects),
            end.delay,
            _OPEN_STAGES,
        )
        return bool(switched)

    async def delete(self, asset_id: UUID, effects: Sequence[Effect]) -> bool:
        """Set the asset to `deleted`, cancel its stages and write `effects` to the outbox. False when it was deleted.

        From then on every commit of a worker is refused.
        """
        return bool(await self._database.fetchval(_DELETE, asset_id, effects_as_json(effects)))

    async def job_of(self, asset_id: UUID) -> str | None:
        """Return the id of the transcoding job that an asset waits for, or None."""
        job: str | None = await self._database.fetchval(
            "SELECT job_id FROM stages WHERE asset_id = $1 AND stage = $2 AND state = 'waiting'",
            asset_id,
            Stage.TRANSCODE,
        )
        return job

    async def note(self, asset_id: UUID, code: str, detail: str = "", effects: Sequence[Effect] = ()) -> None:
        """Add to an asset's timeline and write `effects` to the outbox. Does nothing when there is no such asset."""
        known = "SELECT asset_id, true AS is_noted FROM assets WHERE asset_id = $1"
        await self._note(known, asset_id, code, detail, effects)

    async def note_late_version(self, asset_id: UUID, code: str, detail: str, effects: Sequence[Effect]) -> None:
        """Like `note`, but count the versions, and keep only the time of those beyond LATE_VERSIONS_NOTED."""
        counted = (
            "UPDATE assets SET late_versions = late_versions + 1, late_version_at = clock_timestamp()"
            f" WHERE asset_id = $1 RETURNING asset_id, late_versions <= {LATE_VERSIONS_NOTED} AS is_noted"
        )
        await self._note(counted, asset_id, code, detail, effects)

    async def late_version_at(self, asset_id: UUID) -> datetime | None:
        """Return when a version after the bound one was last told of, None where there was none."""
        found: datetime | None = await self._database.fetchval(
            "SELECT late_version_at FROM assets WHERE asset_id = $1", asset_id
        )
        return found

    async def _note(self, known: str, asset_id: UUID, code: str, detail: str, effects: Sequence[Effect]) -> None:
        await self._database.execute(
            f"WITH known AS ({known}), noted AS (INSERT INTO timeline (asset_id, code, detail)"
            " SELECT asset_id, $2, $3 FROM known WHERE is_noted)"
            " INSERT INTO outbox (asset_id, kind, target, body, group_id, due_at)"
            " SELECT asset_id, e.kind, e.target, e.body, e.group_id, now()"
            " FROM known, jsonb_to_recordset($4::jsonb) AS e(kind text, target text, body jsonb, group_id text)",
            asset_id,
            code,
            detail[:2000],
            effects_as_json(effects),
        )

    async def timeline(self, asset_id: UUID) -> list[TimelineEntry]:
        """Return an asset's timeline, oldest entry first."""
        records = await self._database.fetch("SELECT * FROM timeline WHERE asset_id = $1 ORDER BY id", asset_id)
        return [timeline_entry_of(record) for record in records]


class MultipartUploadStore:
    """Multipart uploads by asset. Every method raises UnavailableError when Postgres is down."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def remember(self, asset_id: UUID, upload_id: str, part_size: int) -> bool:
        """Record the upload of an asset, once. False when there is one already, or the asset waits for no upload."""
        return await self._database.fetchval(_REMEMBER, asset_id, upload_id, part_size) is not None

    async def find(self, asset_id: UUID, *, owner_id: str) -> MultipartUpload | None:
        """Return the upload of an asset, if the asset is that owner's and is uploaded in parts."""
        record = await self._database.fetchrow(
            "SELECT * FROM assets WHERE asset_id = $1 AND owner_id = $2 AND upload_id IS NOT NULL", asset_id, owner_id
        )
        return MultipartUpload(asset_of(record), record["upload_id"], record["part_size"]) if record else None


__all__ = ["AssetStore", "Binding", "NewAsset", "OutboxRow", "StoredObject", "outbox_row"]
