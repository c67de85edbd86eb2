"""Files with a wrong name or type are processed by their real type, and their digest is stored."""

import hashlib
import subprocess
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image

from tests.conftest import EmbeddedStack
from tests.integration.stack.client import Client, open_client
from tests.unit.handlers.scan.documents.samples import document

PDF = document()
SOURCES = ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=2", "-f", "lavfi", "-i", "sine=d=2"]


@pytest.fixture
async def client(stack: EmbeddedStack) -> AsyncIterator[Client]:
    async with open_client(stack, "namesake") as found:
        yield found


def avi(folder: Path) -> bytes:
    path = folder / "clip.avi"
    codecs = ["-c:v", "mpeg4", "-q:v", "3", "-c:a", "libmp3lame"]
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", *SOURCES, *codecs, str(path)], check=True, timeout=60)
    return path.read_bytes()


def heic() -> bytes:
    """Red on the left, blue on the right."""
    picture = Image.new("RGB", (400, 300), "red")
    picture.paste("blue", (200, 0, 400, 300))
    target = BytesIO()
    pillow_heif.from_pillow(picture).save(target, quality=90)
    return target.getvalue()


async def test_an_avi_named_mp4_is_processed_as_avi(client: Client, tmp_path: Path) -> None:
    content = avi(tmp_path)
    asset = await client.upload("video", "video/mp4", "holiday.mp4", content)
    asset_id = asset["asset_id"]
    assert (asset["status"], asset["content_type"]) == ("ready", "video/x-msvideo"), asset
    assert (await client.timeline_details(asset_id))["content_type"] == "announced as video/mp4, is video/x-msvideo"
    made = {one["name"]: one["content_type"] for one in asset["renditions"]}
    assert made == {"hls": "application/vnd.apple.mpegurl", "mp4": "video/mp4", "poster": "image/jpeg"}
    film, kind = await client.fetch_rendition(asset_id, "mp4")
    assert (film[4:8], kind) == (b"ftyp", "video/mp4")
    poster, kind = await client.fetch_rendition(asset_id, "poster")
    assert (poster[:3], kind) == (b"\xff\xd8\xff", "image/jpeg")
    assert (await client.fetch_rendition(asset_id, "original"))[0] == content
    assert (await client.row(asset_id))["sha256"] is None, "a film's digest would cost a core and be read by nobody"


async def test_a_heic_named_jpg_is_processed_as_heic(client: Client) -> None:
    content = heic()
    asset = await client.upload("image", "image/jpeg", "IMG_0001.jpg", content)
    asset_id = asset["asset_id"]
    assert (asset["status"], asset["content_type"], asset["width"], asset["height"]) == (
        "ready",
        "image/heic",
        400,
        300,
    )
    assert (await client.timeline_details(asset_id))["content_type"] == "announced as image/jpeg, is image/heic"
    for rendition in asset["renditions"]:
        shown, kind = await client.fetch_rendition(asset_id, rendition["name"])
        assert (kind, rendition["content_type"]) == ("image/webp", "image/webp")
        with Image.open(BytesIO(shown), formats=["WEBP"]) as opened:
            left, right = (opened.convert("RGB").getpixel((opened.width * part // 4, 20)) for part in (1, 3))
        assert isinstance(left, tuple)
        assert isinstance(right, tuple)
        assert left[0] - left[2] > 150, "red stays red"
        assert right[2] - right[0] > 150, "blue stays blue"
    assert (await client.fetch_rendition(asset_id, "original"))[0] == content
    assert (await client.row(asset_id))["sha256"] == hashlib.sha256(content).hexdigest()


async def test_a_correctly_announced_document_is_served_unchanged(client: Client) -> None:
    asset = await client.upload("document", "application/pdf", "paper.pdf", PDF)
    assert asset["status"] == "ready", asset
    assert await client.fetch_rendition(asset["asset_id"], "original") == (PDF, "application/pdf")
    assert (await client.row(asset["asset_id"]))["sha256"] == hashlib.sha256(PDF).hexdigest()
