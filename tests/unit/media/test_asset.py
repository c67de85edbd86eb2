"""Legal changes of status, keys, and file names."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.asset import (
    KEY_LIMIT,
    TERMINAL,
    TRANSITIONS,
    AssetType,
    Status,
    asset_id_of_key,
    safe_file_name,
    sources_of,
    upload_key,
)


def test_every_status_has_its_moves() -> None:
    assert set(TRANSITIONS) == set(Status)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (Status.PENDING, Status.UPLOADED),
        (Status.EXPIRED, Status.UPLOADED),
        (Status.FAILED, Status.SCANNING),
        (Status.FAILED, Status.PROCESSING),
        (Status.SCANNING, Status.READY),
        (Status.READY, Status.REJECTED),
    ],
)
def test_legal_moves(source: Status, target: Status) -> None:
    assert source in sources_of(target)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (Status.READY, Status.SCANNING),
        (Status.REJECTED, Status.READY),
        (Status.DELETED, Status.READY),
        (Status.PENDING, Status.READY),
        (Status.EXPIRED, Status.READY),
    ],
)
def test_illegal_moves(source: Status, target: Status) -> None:
    assert source not in sources_of(target)


@pytest.mark.parametrize("status", sorted(Status))
def test_all_but_deleted_may_be_deleted(status: Status) -> None:
    assert status in sources_of(Status.DELETED)


def test_terminal_statuses_are_left_only_by_redrive_rescan_late_upload_or_deletion() -> None:
    onward = {s: TRANSITIONS[s] - {Status.DELETED} for s in TERMINAL}
    assert onward == {
        Status.READY: {Status.REJECTED},
        Status.REJECTED: set(),
        Status.FAILED: {Status.SCANNING, Status.PROCESSING},
        Status.EXPIRED: {Status.UPLOADED},
        Status.DELETED: set(),
    }


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("photo.jpg", "photo.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\scans\\x ray.png", "x-ray.png"),
        ("Röntgen Übersicht.jpeg", "Rontgen-Ubersicht.jpeg"),
        ("", "file"),
        ("...", "file"),
        (".htaccess", "htaccess"),
        ("a\r\nSet-Cookie: b.jpg", "a-Set-Cookie-b.jpg"),
        ("日本.mp4", "mp4"),
    ],
)
def test_file_names_made_safe(name: str, safe: str) -> None:
    assert safe_file_name(name) == safe


@given(st.text(max_size=2000))
def test_any_name_gives_a_key_that_leads_back_to_its_asset(name: str) -> None:
    asset_id = uuid4()
    key = upload_key(AssetType.IMAGE, "doctor_1", asset_id, name)
    assert key.startswith(f"uploads/image/doctor_1/{asset_id}/")
    assert len(key) <= KEY_LIMIT
    assert key.isascii()
    assert asset_id_of_key(key) == asset_id


@pytest.mark.parametrize("owner", ["", "a/b", "..", "a b", "x" * 65, "ä"])
def test_owner_ids_that_would_leave_their_prefix_are_refused(owner: str) -> None:
    with pytest.raises(ValueError, match="owner id"):
        upload_key(AssetType.IMAGE, owner, UUID(int=1), "photo.jpg")


@pytest.mark.parametrize(
    "key", ["", "uploads/", "uploads/image/u/not-a-uuid/x.jpg", "other/image/u/0190a0b0-0000-4000-8000-000000000001/x"]
)
def test_foreign_keys_belong_to_no_asset(key: str) -> None:
    assert asset_id_of_key(key) is None
