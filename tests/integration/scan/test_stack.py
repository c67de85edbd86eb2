"""The embedded stack from upload to API: no byte is served that was not scanned."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from typing import Any

import aiohttp
import pytest
from aiobotocore.session import AioSession
from pikepdf import Encryption
from PIL import Image

from tests.conftest import EmbeddedStack
from tests.integration.scan.conftest import corpus
from tests.unit.handlers.scan.documents.samples import document, opening, script, signed

PDF = document()
DONE = {"ready", "rejected", "failed"}
DEADLINE = 60.0


class User:
    """A user of the platform, who may also act as an attacker."""

    def __init__(
        self, http: aiohttp.ClientSession, plain: aiohttp.ClientSession, s3: Any, bucket: str, quarantine: str
    ) -> None:
        self.http = http
        self.plain = plain
        self.s3 = s3
        self.bucket = bucket
        self.quarantine = quarantine

    async def announce(self, kind: str, content_type: str, name: str) -> Any:
        body = {"asset_type": kind, "content_type": content_type, "original_filename": name}
        async with self.http.post("upload", json=body, raise_for_status=True) as answer:
            return await answer.json()

    async def upload(self, kind: str, content_type: str, content: bytes, **headers: str) -> Any:
        slot = await self.announce(kind, content_type, "file")
        async with self.plain.put(
            slot["upload_url"], data=content, headers=slot["headers"] | headers, raise_for_status=True
        ):
            return slot

    async def get(self, slot: Any, what: str = "") -> Any:
        async with self.http.get(f"assets/{slot['asset_id']}{what}", raise_for_status=True) as answer:
            return await answer.json()

    async def until(self, slot: Any, what: str, happened: Callable[[Any], bool]) -> Any:
        """Return the API's answer once `happened` is true of it."""
        async with asyncio.timeout(DEADLINE):
            while not happened(found := await self.get(slot, what)):  # noqa: ASYNC110 - only the API tells
                await asyncio.sleep(0.05)
        return found

    async def end(self, slot: Any) -> Any:
        return await self.until(slot, "", lambda asset: asset["status"] in DONE)

    async def noted(self, slot: Any, code: str) -> None:
        await self.until(slot, "/timeline", lambda line: code in {entry["code"] for entry in line["items"]})

    async def fetch(self, slot: Any, rendition: str = "") -> tuple[bytes, Any]:
        """Return the bytes and headers of a rendition, the default one without a name."""
        found = await self.get(slot, f"/url?rendition={rendition}" if rendition else "/url")
        async with self.plain.get(found["url"], raise_for_status=True) as answer:
            return await answer.read(), answer.headers

    async def versions(self, slot: Any) -> list[Any]:
        listed = await self.s3.list_object_versions(Bucket=self.bucket, Prefix=slot["s3_key"])
        return list(listed.get("Versions", ()))

    async def only_version(self, slot: Any) -> None:
        """Wait until the key has a single version."""
        async with asyncio.timeout(DEADLINE):
            while len(await self.versions(slot)) != 1:  # noqa: ASYNC110 - only S3 tells
                await asyncio.sleep(0.05)


@pytest.fixture
async def user(stack: EmbeddedStack) -> AsyncIterator[User]:
    settings = stack.settings
    client = AioSession().create_client(
        "s3",
        region_name=settings["AWS_REGION"],
        endpoint_url=settings["AWS_ENDPOINT_URL"],
        aws_access_key_id=settings["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=settings["AWS_SECRET_ACCESS_KEY"],
    )
    base = f"{stack.api_url}/api/v1/media/"
    headers = {"Authorization": f"Bearer {stack.token('scanned')}"}
    sessions = aiohttp.ClientSession(base, headers=headers), aiohttp.ClientSession()
    async with client as s3, sessions[0] as http, sessions[1] as plain:
        yield User(http, plain, s3, settings["OUTPUT_BUCKET"], settings["MEDIA_QUARANTINE_BUCKET"])


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
    folder = f"processed/document/scanned/{slot['asset_id']}/"
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
    (copy,) = await user.versions({"s3_key": f"processed/document/scanned/{slot['asset_id']}/"})
    stored = await user.s3.head_object(Bucket=user.bucket, Key=copy["Key"])
    assert stored["ContentDisposition"].startswith("attachment;")
    assert "immutable" in stored["CacheControl"]
    assert ended["renditions"][0]["bytes"] == stored["ContentLength"]
