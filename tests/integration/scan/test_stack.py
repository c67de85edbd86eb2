"""The embedded stack from upload to API: no byte is served that was not scanned."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from io import BytesIO

import aiohttp
import pytest
from pikepdf import Encryption
from PIL import Image

from tests.conftest import EmbeddedStack
from tests.integration.scan.conftest import corpus
from tests.integration.scan.users import User, user_of
from tests.unit.handlers.scan.documents.samples import document, opening, script, signed

PDF = document()


@pytest.fixture
async def user(stack: EmbeddedStack) -> AsyncIterator[User]:
    async with user_of(stack) as made:
        yield made


def picture(color: str) -> bytes:
    target = BytesIO()
    Image.new("RGB", (400, 300), color).save(target, "JPEG")
    return target.getvalue()


MALWARE = ["clam.zip.b64", "clam.pdf.b64", "eicar.com.b64", "png-with-clam-zip-appended.png.b64"]


@pytest.mark.parametrize("name", MALWARE)
async def test_malware_goes_to_quarantine_and_is_never_served(name: str, user: User) -> None:
    content = corpus(f"malware/{name}")
    slot = await user.upload("image", "image/png", content)
    ended = await user.end(slot)
    assert (ended["status"], ended["code"], ended["renditions"]) == ("rejected", "infected", [])
    await user.noted(slot, "quarantined")
    assert await user.versions(slot) == []
    moved = await user.s3.get_object(Bucket=user.quarantine, Key=slot["s3_key"])
    assert hashlib.sha256(await moved["Body"].read()).digest() == hashlib.sha256(content).digest()
    tags = await user.s3.get_object_tagging(Bucket=user.quarantine, Key=slot["s3_key"])
    assert {"Key": "scan-status", "Value": "INFECTED"} in tags["TagSet"]
    for rendition in ("original", "w320"):
        with pytest.raises(aiohttp.ClientResponseError):
            await user.fetch(slot, rendition)


async def test_a_tag_that_the_uploader_forged_is_worth_nothing(user: User) -> None:
    """S3 takes no `x-amz-` header that was not signed; the emulator does, so that it can be seen to change nothing."""
    slot = await user.upload(
        "image", "image/png", corpus("malware/eicar.com.b64"), **{"x-amz-tagging": "scan-status=CLEAN"}
    )
    assert (await user.end(slot))["code"] == "infected"


async def test_object_swapped_after_the_scan_is_not_served(user: User) -> None:
    slot = await user.upload("document", "application/pdf", PDF)
    assert (await user.end(slot))["status"] == "ready"
    await user.s3.put_object(Bucket=user.bucket, Key=slot["s3_key"], Body=PDF + b"% swapped")
    served, headers = await user.fetch(slot, "original")
    assert served == PDF
    assert headers["Content-Disposition"].startswith("attachment")
    await user.noted(slot, "late_version")
    await user.only_version(slot)
    assert (await user.fetch(slot, "original"))[0] == PDF


async def test_uploads_that_race_and_repeat_leave_what_was_scanned_and_ten_notes(user: User) -> None:
    slot = await user.announce("image", "image/jpeg", "photo.jpg")

    async def put(color: str) -> None:
        headers = {"Content-Type": "image/jpeg"}
        async with user.plain.put(slot["upload_url"], data=picture(color), headers=headers, raise_for_status=True):
            pass

    await asyncio.gather(*(put(color) for color in ("red", "blue") * 8))
    ended = await user.end(slot)
    assert ended["status"] == "ready"
    await put("blue")
    await user.only_version(slot)
    original, headers = await user.fetch(slot, "original")
    assert hashlib.sha256(original).hexdigest() == ended["sha256"]
    assert headers["Content-Disposition"] == "attachment; filename=\"photo.jpg\"; filename*=UTF-8''photo.jpg"
    rendered = Image.open(BytesIO((await user.fetch(slot, "w150"))[0])).convert("RGB").getpixel((50, 50))
    uploaded = Image.open(BytesIO(original)).convert("RGB").getpixel((50, 50))
    assert (rendered[0] > rendered[2]) == (uploaded[0] > uploaded[2])  # type: ignore[index] # RGB
    noted = [entry["code"] for entry in (await user.get(slot, "/timeline"))["items"]]
    assert 1 <= noted.count("late_version") <= 10


async def test_a_second_version_while_the_first_is_processed(user: User) -> None:
    slot = await user.announce("image", "image/jpeg", "photo.jpg")
    for color in ("red", "blue", "blue"):
        await user.s3.put_object(Bucket=user.bucket, Key=slot["s3_key"], Body=picture(color))
    ended = await user.end(slot)
    assert ended["status"] == "ready"
    await user.noted(slot, "late_version")
    bound, _ = await user.fetch(slot, "w320")
    one = Image.open(BytesIO(bound)).convert("RGB").getpixel((100, 100))
    await user.only_version(slot)
    original = await user.s3.get_object(Bucket=user.bucket, Key=slot["s3_key"])
    kept = Image.open(BytesIO(await original["Body"].read())).convert("RGB").getpixel((100, 100))
    assert one is not None
    assert kept is not None
    assert (one[0] > one[2]) == (kept[0] > kept[2]), "what is served was made of the version that was scanned"  # type: ignore[index] # RGB


async def test_heic_named_jpg_is_processed_as_heic(user: User) -> None:
    slot = await user.upload("image", "image/jpeg", corpus("images/bad/L_xmp_latin1.heic"))
    await user.noted(slot, "content_type")
    assert (await user.end(slot))["content_type"] in {"image/heic", "image/heif"}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (document(signed, opening(script())), "active_content"),
        (document(encryption=Encryption(user="secret", owner="owner")), "encrypted"),
        (picture("red"), "type_mismatch"),
    ],
)
async def test_a_document_that_is_refused(content: bytes, code: str, user: User) -> None:
    ended = await user.end(await user.upload("document", "application/pdf", content))
    assert (ended["status"], ended["code"]) == ("rejected", code)


async def test_a_document_is_served_as_a_copy_to_be_saved(user: User) -> None:
    slot = await user.upload("document", "application/pdf", PDF)
    ended = await user.end(slot)
    assert (ended["status"], ended["page_count"], ended["notes"]) == ("ready", 1, [])
    served, headers = await user.fetch(slot, "original")
    assert served == PDF
    assert headers["Content-Type"] == "application/pdf"
    assert headers["Content-Disposition"].startswith("attachment;")
    folder = f"processed/document/scanned/{slot['asset_id']}/scan-1/"
    (copy,) = await user.versions({"s3_key": folder})
    stored = await user.s3.head_object(Bucket=user.bucket, Key=copy["Key"])
    assert stored["ContentDisposition"].startswith("attachment;")
    assert "immutable" in stored["CacheControl"]


async def test_a_document_that_acts_is_served_without_what_acts(user: User) -> None:
    slot = await user.upload("document", "application/pdf", document(opening(script()), pages=2))
    ended = await user.end(slot)
    assert (ended["status"], ended["page_count"]) == ("ready", 2)
    assert ended["notes"] == [{"code": "actions_removed", "detail": "Taken out: JavaScript (1)"}]
    for rendition in ("original", ""):
        served, headers = await user.fetch(slot, rendition)
        assert served.startswith(b"%PDF-")
        assert b"app.alert" not in served
        assert headers["Content-Type"] == "application/pdf"
        assert headers["Content-Disposition"].startswith("attachment;")
    await user.noted(slot, "actions_removed")
    (copy,) = await user.versions({"s3_key": f"processed/document/scanned/{slot['asset_id']}/scan-1/"})
    stored = await user.s3.head_object(Bucket=user.bucket, Key=copy["Key"])
    assert stored["ContentDisposition"].startswith("attachment;")
    assert "immutable" in stored["CacheControl"]
    (original,) = (rendition for rendition in ended["renditions"] if rendition["name"] == "original")
    assert original["bytes"] == stored["ContentLength"]
