"""The event of a change: what is in it, how large it may be, and that its schema only grows."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import jsonschema_rs
import pytest
from pydantic_core import to_jsonable_python

from media.asset import Asset, AssetNote, Rendition, Status
from media.events.asset_event import EVENT_BYTES, asset_event, detail_type, schema
from media.events.event_outbox import PendingEvent
from tests.fakes.assets import VIDEO

RELEASED = Path(__file__).with_name("asset.v1.json")
"""The schema as it was released. Take over what was added when a version is released, and remove nothing."""


def pending(asset: Asset, kind: str = "ready") -> PendingEvent:
    row = to_jsonable_python(asset)
    at = datetime(2026, 11, 30, 4, 15, 45, 123456, tzinfo=UTC)
    return PendingEvent(UUID(int=1), asset.asset_id, 7, kind, "processing", at, row, is_newest=True)


def written(asset: Asset, kind: str = "ready") -> dict[str, Any]:
    text = asset_event(pending(asset, kind), "https://api.example/schema")
    assert len(text.encode()) <= EVENT_BYTES
    event: dict[str, Any] = json.loads(text)
    jsonschema_rs.validate(schema(), event, validate_formats=True)
    return event


def test_event_is_the_cloud_event_of_the_contract() -> None:
    event = written(replace(VIDEO, status=Status.READY, external_id="post-1"))
    asset = event["data"].pop("asset")
    assert event == {
        "specversion": "1.0",
        "id": "00000000-0000-0000-0000-000000000001",
        "source": f"/media/assets/{VIDEO.asset_id}",
        "subject": str(VIDEO.asset_id),
        "type": "docfliq.media.asset.ready.v1",
        "time": "2026-11-30T04:15:45.123456Z",
        "datacontenttype": "application/json",
        "dataschema": "https://api.example/schema",
        "sequence": "00000000000000000007",
        "data": {"previous_status": "processing"},
    }
    assert (asset["external_id"], asset["owner_id"], asset["status"]) == ("post-1", "owner", "ready")
    assert not {"bucket", "key", "version_id", "trace_id"} & set(asset), "what only this service needs"
    assert detail_type("ready") == "Media Asset Ready"


@pytest.mark.parametrize("letter", ["x", "ü", "\x01", "😀"])
def test_event_that_would_be_too_large_names_what_it_leaves_out(letter: str) -> None:
    renditions = [Rendition(f"page-{n}", "k", "image/webp", 9, 1280, 720) for n in range(1, 301)]
    notes = [AssetNote("cut_short", letter * 2000)] * 50
    large = replace(VIDEO, status=Status.READY, renditions=renditions, notes=notes, detail=letter * 2000)
    data = written(large)["data"]
    assert data["shortened"] == ["notes"]
    assert data["asset"]["notes"] == []
    assert len(data["asset"]["renditions"]) == 300
    assert data["asset"]["detail"] == letter * 2000


def test_event_leaves_out_more_where_it_must() -> None:
    renditions = [Rendition(f"page-{n}", "k", "image/webp" + "+" * 200, 9) for n in range(300)]
    data = written(replace(VIDEO, renditions=renditions, metadata={"a": "b"}))["data"]
    assert (data["shortened"], data["asset"]["renditions"]) == (["renditions"], [])
    assert data["asset"]["metadata"] == {"a": "b"}


def test_schema_only_grows() -> None:
    released = json.loads(RELEASED.read_text())
    assert list(removed(released, schema())) == [], "its readers rely on it: this needs a v2 beside it"


def test_a_change_that_breaks_readers_is_found() -> None:
    changed = json.loads(json.dumps(schema()))
    del changed["$defs"]["EventAsset"]["properties"]["size"]
    changed["$defs"]["EventAsset"]["required"].remove("code")
    changed["properties"]["sequence"]["type"] = "integer"
    assert list(removed(schema(), changed)) == [
        "/$defs/EventAsset/properties/size",
        "/$defs/EventAsset/required: code",
        "/properties/sequence/type",
    ]


def removed(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Yield what a reader of the old schema would miss in the new one. Descriptions and titles may change."""
    match old:
        case Mapping():
            for name, value in old.items():
                if name in {"description", "title"} and not isinstance(value, Mapping):
                    continue
                if not isinstance(new, Mapping) or name not in new:
                    yield f"{path}/{name}"
                else:
                    yield from removed(value, new[name], f"{path}/{name}")
        case list() if all(isinstance(value, str) for value in old):
            yield from (f"{path}: {value}" for value in old if value not in new)
        case list():
            for value in old:
                if value not in new:
                    yield f"{path}: {json.dumps(value)}"
        case _ if old != new:
            yield path
