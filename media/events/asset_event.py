"""The event that tells other services of a change: a CloudEvent 1.0 with the asset as the API shows it.

Its JSON Schema is generated from these models. Within `v1` it only grows: docs/events.md is written for its readers.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, TypeAdapter

from media.asset import Asset, AssetType, Status
from media.events.event_outbox import PendingEvent
from media.public_asset import AssetOut, PublicModel

SCHEMA_PATH = "/api/v1/media/schemas/events/asset.v1.json"
EVENT_BYTES = 64 * 1024
"""Most bytes of a CloudEvent that every intermediary must pass on (CloudEvents 1.0, Size Limits)."""
SHORTENED = ("chapters", "notes", "renditions", "caption_tracks", "document_info", "metadata")
"""Fields that are left out of an event that is too large, in this order, until it is not."""

_ROW = TypeAdapter(Asset)


class EventAsset(AssetOut):
    """The asset as `GET /assets/{id}` answers to a service, at the time of the change."""

    model_config = ConfigDict(title="Asset")

    owner_id: str


class DeletedAsset(PublicModel):
    """What is told of an asset that is deleted: nothing but what identifies it."""

    asset_id: UUID
    owner_id: str
    asset_type: AssetType
    status: Literal[Status.DELETED]
    recording_id: str | None
    webinar_id: str | None
    external_id: str | None


class AssetEventData(PublicModel):
    """The asset, and the status that it had before."""

    previous_status: Status | None = Field(description="null: it did not exist")
    asset: EventAsset | DeletedAsset
    shortened: list[str] = Field(
        default_factory=list,
        json_schema_extra={"default": []},
        description="Fields of the asset that are null or empty here, as the event would exceed 64 KiB. Ask for the"
        " asset to see them. Left out where there are none",
    )


class AssetCloudEvent(PublicModel):
    """A change of an asset (CloudEvents 1.0)."""

    specversion: Literal["1.0"] = "1.0"
    id: UUID = Field(description="A UUIDv7, the same each time the event is sent")
    source: str = Field(description="`/media/assets/{asset_id}`")
    subject: UUID = Field(description="The asset's id")
    type: str = Field(
        pattern=r"^docfliq\.media\.asset\.[a-z]+\.v1$",
        description="Ends in `created.v1`, `uploaded.v1`, `ready.v1`, `rejected.v1`, `failed.v1`, `expired.v1`,"
        " `deleted.v1` or `changed.v1`. More may come",
    )
    time: datetime = Field(description="When it happened, in UTC")
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: str = Field(description="Where this schema is")
    sequence: str = Field(
        pattern="^[0-9]{20}$",
        description="Counts the events of this asset. Compared as text: the largest has the latest state",
    )
    data: AssetEventData


def detail_type(kind: str) -> str:
    """Return the `detail-type` of EventBridge."""
    return f"Media Asset {kind.capitalize()}"


def asset_event(pending: PendingEvent, dataschema: str) -> str:
    """Return the CloudEvent of a change as JSON, at most EVENT_BYTES long."""
    asset = _ROW.validate_python(pending.asset)
    shape = DeletedAsset if asset.status is Status.DELETED else EventAsset
    shown = shape.model_validate(asset)
    event = AssetCloudEvent(
        id=pending.event_id,
        source=f"/media/assets/{pending.asset_id}",
        subject=pending.asset_id,
        type=f"docfliq.media.asset.{pending.kind}.v1",
        time=pending.created_at,
        dataschema=dataschema,
        sequence=f"{pending.sequence:020}",
        data=AssetEventData(previous_status=pending.previous_status, asset=shown),
    )
    for shortened in shorter_and_shorter(shown):
        data = event.data.model_copy(update=shortened)
        unused = set() if data.shortened else {"shortened"}
        text = event.model_copy(update={"data": data}).model_dump_json(exclude={"data": unused})
        if len(text.encode()) <= EVENT_BYTES:
            return text
    raise ValueError(f"the event {pending.event_id} is too large, whatever is left out of it")


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the event."""
    written = AssetCloudEvent.model_json_schema(mode="serialization")
    written["$defs"]["AssetEventData"]["required"].remove("shortened")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **written}


def shorter_and_shorter(asset: EventAsset | DeletedAsset) -> Iterator[dict[str, Any]]:
    """Yield the asset as it is, and then with one field more left out each time."""
    left_out: dict[str, Any] = {}
    yield {"asset": asset}
    for name in SHORTENED:
        if value := getattr(asset, name, None):
            left_out[name] = type(value)() if isinstance(value, list | dict) else None
            yield {"asset": asset.model_copy(update=left_out), "shortened": list(left_out)}
