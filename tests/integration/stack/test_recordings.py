"""Recordings in other buckets, and videos that are too large to scan, through the whole stack."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from deploy.local.ports import free_port
from media.contracts import WebinarRecording
from tests.conftest import EmbeddedStack, embedded_stack
from tests.integration.stack.client import DEADLINE, Client, open_client

ROOT = Path(__file__).parents[3]
SCAN_LIMIT = 300_000
"""Bytes; smaller than the noisy clip, larger than the plain one."""


@pytest.fixture(scope="module")
async def reencoding(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedStack]:
    """A stack with a small scan limit; a separate consumer reads recordings, also from our own bucket."""
    settings = {
        "MEDIA_UNSCANNABLE_VIDEO": "reencode",
        "MEDIA_SCAN_MAX_BYTES": str(SCAN_LIMIT),
        "MEDIA_QUEUES": "uploads,images,transcodes,transcode-events",
    }
    async with embedded_stack(tmp_path_factory.mktemp("reencoding"), **settings) as up:
        buckets = f"{up.settings['MEDIA_RECORDING_BUCKETS']},{up.settings['OUTPUT_BUCKET']}"
        async with consumer(up, MEDIA_QUEUES="recordings", MEDIA_RECORDING_BUCKETS=buckets):
            yield up


@asynccontextmanager
async def consumer(stack: EmbeddedStack, **changes: str) -> AsyncIterator[None]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MEDIA_", "AWS_"))}
    env = kept | dict(stack.settings) | {"MEDIA_CONSUMER_PORT": str(free_port()), "PYTHONPATH": str(ROOT)} | changes
    with (stack.state / "recordings.log").open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "consumer"), cwd=stack.state, env=env, stdout=said, stderr=said
        )
    try:
        yield
    finally:
        process.terminate()
        async with asyncio.timeout(DEADLINE):
            await process.wait()


def clip(path: Path, filters: str = "") -> bytes:
    picture = ["-f", "lavfi", "-i", f"testsrc2=s=320x180:r=25:d=2{filters}"]
    coded = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    argv = ["ffmpeg", "-nostdin", "-v", "error", *picture, "-f", "lavfi", "-i", "sine=d=2", *coded, str(path)]
    subprocess.run(argv, check=True, timeout=60)
    return path.read_bytes()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    content = clip(tmp_path_factory.mktemp("plain") / "plain.mp4")
    assert len(content) < SCAN_LIMIT
    return content


@pytest.fixture(scope="module")
def oversized(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    content = clip(tmp_path_factory.mktemp("vast") / "vast.mp4", ",noise=alls=60:allf=t")
    assert len(content) > SCAN_LIMIT
    return content


async def send_recording(client: Client, host: str, bucket: str, content: bytes) -> tuple[str, Any]:
    """Store a recording and announce it; return its key and the response of S3."""
    recording_id = uuid4().hex
    key = f"recordings/{recording_id}/talk.mp4"
    stored = await client.s3.put_object(Bucket=bucket, Key=key, Body=content, ContentType="video/mp4")
    message = WebinarRecording(
        recording_id=recording_id,
        webinar_id="webinar-7",
        host_id=host,
        bucket=bucket,
        key=key,
        version_id=stored.get("VersionId"),
        title="Sepsis \u202ein\nten minutes\x9b" + "." * 300,
        version=2,
        external_id="course-7",
        metadata={"season": "autumn"},
    )
    queue = client.stack.settings["MEDIA_RECORDINGS_QUEUE_URL"]
    await client.sqs.send_message(QueueUrl=queue, MessageBody=message.model_dump_json())
    return key, stored


@pytest.mark.parametrize("whose", ["MEDIA_RECORDING_BUCKETS", "OUTPUT_BUCKET"], ids=["another's", "ours"])
async def test_a_recording_is_processed_in_its_own_bucket(whose: str, reencoding: EmbeddedStack, plain: bytes) -> None:
    host = f"host-{uuid4().hex}"
    async with open_client(reencoding, host) as client:
        bucket = reencoding.settings[whose]
        key, stored = await send_recording(client, host, bucket, plain)
        asset = await client.wait_for_only_asset()
        assert (asset["status"], asset["delivery"], asset["asset_type"]) == ("ready", "webinar_vod", "video"), asset
        assert (asset["title"], asset["webinar_id"]) == (f"{'Sepsis in ten minutes':.<255}", "webinar-7")
        assert (asset["external_id"], asset["metadata"]) == ("course-7", {"season": "autumn"})
        assert asset["recording_id"] == key.split("/")[1]
        assert (await client.row(asset["asset_id"]))["bucket"] == bucket
        assert {one["name"] for one in asset["renditions"]} == {"hls", "mp4", "poster"}
        assert (await client.fetch_rendition(asset["asset_id"], "mp4"))[0][4:8] == b"ftyp"
        kept = await client.s3.head_object(Bucket=bucket, Key=key)
        assert (kept["ETag"], kept["ContentLength"]) == (stored["ETag"], len(plain)), "the original must stay unchanged"
        tags = await client.tags(bucket, key)
        assert tags.get("scan-status") == (None if whose == "MEDIA_RECORDING_BUCKETS" else "CLEAN")


async def test_a_recording_in_a_forbidden_bucket_becomes_a_dead_letter(reencoding: EmbeddedStack, plain: bytes) -> None:
    host = f"host-{uuid4().hex}"
    async with open_client(reencoding, host) as client:
        await send_recording(client, host, reencoding.settings["MEDIA_QUARANTINE_BUCKET"], plain)
        assert "bucket_not_allowed" in await find_dead_letter(client, host)


@pytest.mark.parametrize(
    ("name", "value"), [("title", "a\0b"), ("webinar_id", "a\ud800"), ("recorded_at", "0001-01-01T00:00:00+14:00")]
)
async def test_a_message_that_cannot_be_stored_becomes_a_dead_letter(
    name: str, value: str, reencoding: EmbeddedStack
) -> None:
    host = f"host-{uuid4().hex}"
    bucket = reencoding.settings["MEDIA_RECORDING_BUCKETS"]
    content = {"recording_id": host, "webinar_id": "w", "host_id": host, "bucket": bucket, "key": "talk.mp4"}
    async with open_client(reencoding, host) as client:
        queue = reencoding.settings["MEDIA_RECORDINGS_QUEUE_URL"]
        body = json.dumps({"type": "webinar.recording", **content, name: value})
        await client.sqs.send_message(QueueUrl=queue, MessageBody=body)
        said = await find_dead_letter(client, host)
        assert "undecodable" in said
        assert any(word.startswith(f"WebinarRecording: {name}") for word in said), said


async def find_dead_letter(client: Client, host: str) -> set[str]:
    """Return the attributes of the dead letter for the only recording of a host."""
    queue = client.stack.settings["MEDIA_RECORDINGS_QUEUE_URL"] + "-dlq"

    async def receive_dead_letters() -> Any:
        received = await client.sqs.receive_message(
            QueueUrl=queue, MessageAttributeNames=["All"], WaitTimeSeconds=1, MaxNumberOfMessages=10
        )
        return [one for one in received.get("Messages", ()) if host in one["Body"]]

    (message,) = await client.wait_for(receive_dead_letters, bool)
    return {value["StringValue"] for value in message["MessageAttributes"].values()}


async def test_a_recording_too_large_to_scan_is_reencoded(reencoding: EmbeddedStack, oversized: bytes) -> None:
    host = f"host-{uuid4().hex}"
    async with open_client(reencoding, host) as client:
        await send_recording(client, host, reencoding.settings["MEDIA_RECORDING_BUCKETS"], oversized)
        await require_only_renditions(client, await client.wait_for_only_asset(), oversized)


async def test_a_video_too_large_to_scan_is_reencoded(reencoding: EmbeddedStack, oversized: bytes) -> None:
    async with open_client(reencoding, "generous") as client:
        asset = await client.upload("video", "video/mp4", "vast.mp4", oversized)
        await require_only_renditions(client, asset, oversized)
        key = (await client.row(asset["asset_id"]))["key"]
        assert (await client.tags(client.bucket, key))["scan-status"] == "UNSCANNABLE"


async def test_other_files_too_large_to_scan_are_rejected(reencoding: EmbeddedStack) -> None:
    async with open_client(reencoding, "generous") as client:
        for kind, content_type, head in (("image", "image/jpeg", b"\xff\xd8\xff\xe0"), ("audio", "audio/mpeg", b"ID3")):
            asset = await client.upload(kind, content_type, "vast", head + bytes(SCAN_LIMIT))
            assert (asset["status"], asset["code"]) == ("rejected", "too_large_to_scan")
            assert asset["renditions"] == []
            assert (asset["title"], asset["webinar_id"], asset["recording_id"]) == (None, None, None)


async def require_only_renditions(client: Client, asset: Any, original: bytes) -> None:
    """Check that only the output of our encoder is served, and not the original."""
    asset_id = asset["asset_id"]
    assert asset["status"] == "ready", asset
    assert "only re-encoded" in (await client.timeline_details(asset_id))["unscannable"]
    assert {one["name"] for one in asset["renditions"]} == {"hls", "mp4", "poster"}
    assert await client.url_status(asset_id, "original") in {404, 409}
    film, kind = await client.fetch_rendition(asset_id, "mp4")
    assert (film[4:8], kind) == (b"ftyp", "video/mp4")
    assert film != original
