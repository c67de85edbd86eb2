"""Turn database rows into domain objects."""

import asyncpg
from pydantic import TypeAdapter
from pydantic_core import from_json

from media.asset import (
    Asset,
    AssetNote,
    AssetType,
    DeliveryClass,
    DocumentInfo,
    Rendition,
    Stage,
    Status,
    TimelineEntry,
)

_PLAIN = (
    "asset_id",
    "owner_id",
    "content_type",
    "original_filename",
    "bucket",
    "key",
    "created_at",
    "updated_at",
    "version_id",
    "etag",
    "declared_size",
    "size",
    "code",
    "detail",
    "width",
    "height",
    "duration_ms",
    "progress",
    "placeholder",
    "dominant_color",
    "sha256",
    "title",
    "webinar_id",
    "recording_id",
    "uploaded_at",
    "trace_id",
)

RENDITIONS_AS_JSON = (
    "(SELECT coalesce(jsonb_agg(jsonb_build_object('name', r.name, 'key', r.key, 'content_type', r.content_type,"
    " 'bytes', r.bytes, 'width', r.width, 'height', r.height, 'duration_ms', r.duration_ms) ORDER BY r.bytes, r.name),"
    " '[]') FROM renditions r WHERE r.asset_id = a.asset_id)"
)
"""SQL of a column of the asset `a`, so that an asset and its renditions take one round trip."""

_RENDITIONS = TypeAdapter(tuple[Rendition, ...])

IS_IN_PROGRESS = (
    "(SELECT a.status FROM assets a WHERE a.asset_id = s.asset_id) IN ('uploaded', 'scanning', 'processing')"
)
"""SQL that is true of a stage `s` whose asset has not ended. A join might read all assets first, this looks each up."""


def asset_of(record: asyncpg.Record) -> Asset:
    """Turn a row of `assets` into an Asset, with renditions where `RENDITIONS_AS_JSON` was selected as `renditions`."""
    return Asset(
        asset_type=AssetType(record["asset_type"]),
        status=Status(record["status"]),
        delivery=DeliveryClass(record["delivery"]),
        renditions=_RENDITIONS.validate_json(record.get("renditions") or "[]"),
        # The database may still lack these three, which came with version 5 of the schema.
        page_count=record.get("page_count"),
        document_info=DocumentInfo(**from_json(info)) if (info := record.get("document_info")) else None,
        # And these with version 7.
        external_id=record.get("external_id"),
        metadata=from_json(record.get("metadata") or "{}"),
        announced=record.get("announced"),
        pending_delivery=DeliveryClass(pending) if (pending := record.get("pending_delivery")) else None,
        delivery_changes=record.get("delivery_changes") or 0,
        notes=tuple(AssetNote(note["code"], note["detail"]) for note in from_json(record.get("notes") or "[]")),
        **{name: record[name] for name in _PLAIN},
    )


def timeline_entry_of(record: asyncpg.Record) -> TimelineEntry:
    """Turn a row of `timeline` into a TimelineEntry."""
    stage = record["stage"] and Stage(record["stage"])
    return TimelineEntry(record["at"], record["code"], stage, record["attempt"], record["detail"])
