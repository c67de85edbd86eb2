"""The roles of roles.yaml allow what a full run calls, and nothing that is never called."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4

import aiohttp
import asyncpg
import pytest
from aiobotocore.session import get_session

from deploy.local import services
from deploy.local.child import Program
from deploy.local.clamav import EICAR
from media.settings import QUEUES
from tests.acceptance.conftest import jpeg, process_on
from tests.conftest import EmbeddedStack, embedded_stack
from tests.integration.operate.iam_policies import DEPLOYMENT, Need, allowances, needs, of_job
from tests.integration.operate.resource_policies import Call, denied, policy
from tests.integration.transcode.source_clips import Clip
from tests.unit.handlers.scan.documents.samples import document

ROOT = Path(__file__).parents[3]
PDF = document()
DEADLINE = 120.0

RARELY_CALLED = {
    # Actions after an accident or for a very large file, and the call in the adapter that needs them.
    "s3:AbortMultipartUpload": ("media/aws/s3.py", ".abort_multipart_upload("),
    "mediaconvert:CancelJob": ("media/aws/mediaconvert.py", ".cancel_job("),
    "mediaconvert:SearchJobs": ("media/aws/mediaconvert.py", ".search_jobs("),
    "mediaconvert:ListJobs": ("media/aws/mediaconvert.py", ".list_jobs("),
    "mediaconvert:GetJob": ("media/aws/mediaconvert.py", ".get_job("),
    # The embedded stack has no distribution: tests/integration/media/test_invalidations.py.
    "cloudfront:CreateInvalidation": ("media/cdn/cloudfront.py", ".create_invalidation("),
    "sqs:ChangeMessageVisibility": ("media/aws/sqs.py", ".change_message_visibility_batch("),
    # Actions that no emulator has: SQS's move tasks once one has begun, and the agent of ECS.
    "sqs:ListMessageMoveTasks": ("media/aws/sqs.py", ".list_message_move_tasks("),
    "sqs:CancelMessageMoveTask": ("media/aws/sqs.py", ".cancel_message_move_task("),
    "ecs:UpdateTaskProtection": ("consumer/ecs_protection.py", "/task-protection/v1/state"),
}
RARELY_CALLED_ON = {
    # Likewise, on resources where a run without errors does not call them.
    ("ConsumerRole", "FindInQuarantine", "s3:ListBucket"),  # turns S3's 403 for "not there" into 404
    ("ConsumerRole", "FindRecordings", "s3:ListBucket"),
    # The container beside the consumer calls them: tests/integration/scan/test_signatures.py.
    ("ConsumerRole", "ReadSignatures", "s3:GetObject"),
    ("ConsumerRole", "ReadSignatures", "s3:GetObjectVersion"),
}
RARELY_CALLED_AT = {
    # Messages of a callback that the API could not send, from its outbox.
    ("ConsumerRole", "AskForTheNextStage", "sqs:SendMessage", "local-media-transcode-events"),
}


ROLES = ("ConsumerRole", "ApiRole", "OperatorRole", "MediaConvertRole")


@dataclass(frozen=True, slots=True)
class RecordedStack:
    """A stack whose services record their calls."""

    stack: EmbeddedStack
    folder: Path

    def calls_of(self, name: str) -> list[Any]:
        return [json.loads(line) for line in (self.folder / f"{name}.jsonl").read_text().splitlines()]

    def needs_of(self, name: str) -> set[Need]:
        calls = self.calls_of(name)
        return {need for call in calls for need in needs(call["service"], call["operation"], call["params"])}

    def needs_of_jobs(self) -> set[Need]:
        """Return what MediaConvert needs for the jobs that the consumer submitted."""
        jobs = [call["params"] for call in self.calls_of("consumer") if call["operation"] == "CreateJob"]
        return {need for job in jobs for need in of_job(job)}

    async def command(self, *arguments: str) -> None:
        """Run an operator's command, which records its calls too."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.integration.operate.call_recorder",
            str(self.folder / "operator.jsonl"),
            *arguments,
            cwd=ROOT,
            env={**os.environ, **self.stack.settings},
        )
        async with asyncio.timeout(DEADLINE):
            assert await process.wait() == 0

    async def api(self, method: str, path: str, body: Any = None, *, role: str = "user") -> Any:
        headers = {"Authorization": f"Bearer {self.stack.token('dr-house', role)}"}
        url = f"{self.stack.api_url}/api/v1/media{path}"
        async with aiohttp.ClientSession() as http, http.request(method, url, json=body, headers=headers) as answer:
            return await answer.json() if "json" in answer.content_type else await answer.text()

    async def upload(self, kind: str, content_type: str, content: bytes, **more: Any) -> tuple[Any, Any]:
        """Announce a file, PUT it, confirm it and wait for its end; returns the slot and the asset."""
        asked = {"asset_type": kind, "content_type": content_type, "original_filename": "x", **more}
        slot = await self.api("POST", "/upload", asked, role="service")
        url, headers = slot["upload_url"], slot["headers"]
        async with aiohttp.ClientSession() as http, http.put(url, data=content, headers=headers) as answer:
            assert answer.status == 200
        await self.api("POST", "/upload/confirm", {"asset_id": slot["asset_id"]}, role="service")
        async with asyncio.timeout(DEADLINE):
            while True:
                asset = await self.api("GET", f"/assets/{slot['asset_id']}", role="service")
                if asset["status"] not in {"uploaded", "scanning", "processing"}:
                    return slot, asset


@pytest.fixture(scope="module")
async def recorded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RecordedStack]:
    folder = tmp_path_factory.mktemp("recorded")
    plain = services.service

    def with_recorder(name: str, *arguments: Any) -> Program:
        program = plain(name, *arguments)
        recorder = "tests.integration.operate.call_recorder"
        argv = [program.argv[0], "-m", recorder, str(folder / f"{name}.jsonl"), name]
        return replace(program, argv=argv)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services, "service", with_recorder)
        # With few places, pictures whose worker has none are sent to their queue.
        few = {"MEDIA_CONCURRENCY": "2", "MEDIA_PREFETCH": "0"}
        async with embedded_stack(tmp_path_factory.mktemp("iam"), MEDIA_RECONCILE_INTERVAL="2", **few) as stack:
            yield RecordedStack(stack, folder)


def presigned(method: str, url: str) -> Need:
    """Return what the signer of this URL must be allowed to do."""
    parts = urlsplit(url)
    bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
    version = parse_qs(parts.query).get("versionId", [""])[0]
    operation = {"PUT": "PutObject", "GET": "GetObject"}[method]
    [need] = needs("s3", operation, {"Bucket": bucket, "Key": key, "VersionId": version})
    return need


async def multipart_uploads(recorded: RecordedStack, video: bytes) -> set[Need]:
    """Complete one multipart upload and abort another; returns what the parts' URLs need."""
    film = {"asset_type": "video", "content_type": "video/mp4", "original_filename": "x.mp4", "size": len(video)}
    begun = await recorded.api("POST", "/upload/multipart", film)
    path = f"/upload/multipart/{begun['asset_id']}"
    await recorded.api("GET", path)
    [link] = (await recorded.api("POST", f"{path}/parts", {"part_numbers": [1]}))["items"]
    async with aiohttp.ClientSession() as http, http.put(link["url"], data=video) as answer:
        part = {"part_number": 1, "etag": answer.headers["ETag"]}
    assert (await recorded.api("POST", f"{path}/complete", {"parts": [part]}))["status"] != "pending"
    other = await recorded.api("POST", "/upload/multipart", film)
    await recorded.api("DELETE", f"/upload/multipart/{other['asset_id']}")
    return {presigned("PUT", link["url"])}


async def change_deliveries(recorded: RecordedStack, *changes: tuple[str, str]) -> None:
    """Ask for other deliveries of assets, and wait until they are switched to."""
    for asset_id, delivery in changes:
        await recorded.api("PATCH", f"/assets/{asset_id}", {"delivery": delivery}, role="service")
    async with asyncio.timeout(DEADLINE):
        for asset_id, delivery in changes:
            while (await recorded.api("GET", f"/assets/{asset_id}", role="service"))["delivery"] != delivery:
                pass  # each look is a request: the loop waits by itself


async def put_unknown_objects(stack: EmbeddedStack) -> None:
    """Store an upload and outputs of which the database knows nothing, as after a restore."""
    env = stack.settings
    client = get_session().create_client(
        "s3",
        region_name=env["AWS_REGION"],
        endpoint_url=env["AWS_ENDPOINT_URL"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )
    keys = [f"{root}/image/nobody/{uuid4()}/image-1/x" for root in ("public", "processed", "private")]
    async with client as s3:
        for key in [*keys, f"uploads/image/nobody/{uuid4()}/x.jpg"]:
            await s3.put_object(Bucket=env["OUTPUT_BUCKET"], Key=key, Body=jpeg(8, 8))


async def operate(recorded: RecordedStack) -> None:
    """Handle dead letters, by the API and by the commands, and reconcile the bucket with the database."""
    await put_unknown_objects(recorded.stack)
    await recorded.command("consumer.cli", "reconcile-storage", "--repair", "--grace", "0s")
    await recorded.api("GET", "/ops/summary", role="admin")
    for queue in QUEUES:
        await recorded.api("POST", "/ops/redrive", {"queue": queue}, role="admin")
    await recorded.command("consumer.cli", "dlq", "list", "uploads")
    for queue in QUEUES:
        await recorded.command("consumer.cli", "dlq", "redrive", queue)
    await recorded.command("consumer.cli", "dlq", "purge", "recordings")


async def send_unreadable_messages(stack: EmbeddedStack) -> None:
    """Send a message that is not JSON to every queue."""
    async with AsyncExitStack() as exits:
        env = stack.settings
        client = get_session().create_client(
            "sqs",
            region_name=env["AWS_REGION"],
            endpoint_url=env["AWS_ENDPOINT_URL"],
            aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        )
        sqs = await exits.enter_async_context(client)
        for name in [name for name in env if name.endswith("_QUEUE_URL")]:
            await sqs.send_message(QueueUrl=env[name], MessageBody="not JSON")


async def full_run(recorded: RecordedStack, video: Path) -> set[Need]:
    """Do everything that the platform does with this service; returns what the presigned URLs need."""
    urls: set[Need] = set()
    uploads = [
        ("image", "image/jpeg", jpeg(800, 600), {}),
        ("image", "image/jpeg", jpeg(400, 300, 1), {"delivery": "verification_document"}),
        ("document", "application/pdf", PDF, {}),
        ("video", "video/mp4", await asyncio.to_thread(video.read_bytes), {}),
        ("video", "video/mp4", await asyncio.to_thread(video.read_bytes), {"delivery": "public"}),
        ("video", "video/mp4", await asyncio.to_thread(video.read_bytes), {"delivery": "verification_document"}),
        ("document", "application/pdf", PDF, {"delivery": "public"}),
        ("document", "application/pdf", PDF, {"delivery": "verification_document"}),
        ("image", "image/jpeg", bytes.fromhex(EICAR), {}),
    ]
    ended = await asyncio.gather(*(recorded.upload(kind, mime, body, **more) for kind, mime, body, more in uploads))
    assert [asset["status"] for _, asset in ended] == ["ready"] * 8 + ["rejected"]
    for slot, asset in ended[:4]:
        urls.add(presigned("PUT", slot["upload_url"]))
        link = await recorded.api("GET", f"/assets/{asset['asset_id']}/url", role="service")
        if asset["asset_type"] == "video":
            async with aiohttp.ClientSession() as http, http.get(link["url"]) as answer:
                assert (await answer.text()).startswith("#EXTM3U")
        else:
            urls.add(presigned("GET", link["url"]))
        original = await recorded.api("GET", f"/assets/{asset['asset_id']}/url?rendition=original", role="service")
        urls.add(presigned("GET", original["url"]))
    process = process_on(recorded.stack)
    assert (await process("--json", "--as", "recording", video)).status == 0
    await send_unreadable_messages(recorded.stack)
    urls |= await multipart_uploads(recorded, await asyncio.to_thread(video.read_bytes))
    changes = zip(ended[4:8], ("course_video", "course_video", "course_pdf", "course_pdf"), strict=True)
    await change_deliveries(
        recorded,
        *((asset["asset_id"], delivery) for (_, asset), delivery in changes),
        (ended[2][1]["asset_id"], "public"),
    )
    for _, asset in ended[:3]:  # of each kind of delivery
        await recorded.api("DELETE", f"/assets/{asset['asset_id']}", role="service")
    return urls


def dead_letter_sends(recorded: RecordedStack) -> set[Need]:
    """Return the sends to dead-letter queues so far."""
    needed = recorded.needs_of("consumer")
    return {need for need in needed if need.resource.endswith("-dlq") and need.action == "sqs:SendMessage"}


async def wait_until_quiet(recorded: RecordedStack) -> None:
    """Wait until the outbox is empty and every queue's unreadable message is a dead letter."""
    connection = await asyncpg.connect(recorded.stack.dsn)
    try:
        async with asyncio.timeout(DEADLINE):
            # The files of old URLs are removed hours later.
            while await connection.fetchval("SELECT count(*) FROM outbox WHERE due_at < now() + interval '1 hour'"):
                pass  # each look is a request: the loop waits by itself
            while len(dead_letter_sends(recorded)) < len(QUEUES):
                await connection.fetchval("SELECT 1")
    finally:
        await connection.close()


@pytest.fixture(scope="module")
async def called(recorded: RecordedStack) -> Mapping[str, set[Need]]:
    urls = await full_run(recorded, Clip("film", 320, 180, seconds=2).make(recorded.folder))
    await wait_until_quiet(recorded)
    await operate(recorded)
    return {
        "ConsumerRole": recorded.needs_of("consumer"),
        "ApiRole": recorded.needs_of("api") | urls,
        "OperatorRole": recorded.needs_of("operator"),
        "MediaConvertRole": recorded.needs_of_jobs(),
    }


@pytest.mark.parametrize("role", ROLES)
async def test_every_call_is_allowed(called: Mapping[str, set[Need]], role: str) -> None:
    allowed = allowances(role)
    denied = {need for need in called[role] if not any(allowance.covers(need) for allowance in allowed)}
    assert not denied


def is_rarely_called(role: str, statement: str, action: str) -> bool:
    return (action in RARELY_CALLED and role in {"ConsumerRole", "OperatorRole"}) or (
        role,
        statement,
        action,
    ) in RARELY_CALLED_ON


@pytest.mark.parametrize("role", ROLES)
async def test_nothing_is_allowed_that_is_never_called(called: Mapping[str, set[Need]], role: str) -> None:
    unused = [
        allowance
        for allowance in allowances(role)
        if not any(allowance.covers(need) for need in called[role])
        and not is_rarely_called(role, allowance.statement, allowance.action)
    ]
    assert not unused


@pytest.mark.parametrize("role", ROLES)
async def test_no_resource_is_allowed_that_is_never_used(called: Mapping[str, set[Need]], role: str) -> None:
    unused = [
        (role, allowance.statement, allowance.action, resource.rpartition(":")[2])
        for allowance in allowances(role)
        for resource in allowance.resources
        if not any(replace(allowance, resources=(resource,)).covers(need) for need in called[role])
    ]
    assert not [one for one in unused if not is_rarely_called(*one[:3]) and one not in RARELY_CALLED_AT]


@pytest.mark.parametrize("role", ROLES)
async def test_bucket_policy_refuses_none_of_the_calls(called: Mapping[str, set[Need]], role: str) -> None:
    """The uploads have no verdict yet, as when the consumer and MediaConvert read them. Others read clean ones."""
    document = policy("MediaBucketPolicy")
    signed = {"s3:ObjectCreationOperation": "true"}
    if role == "ApiRole":
        signed["s3:ExistingObjectTag/scan-status"] = "CLEAN"
    for need in called[role]:
        call = Call(need.action, need.resource, role=DEPLOYMENT.arn(role), context=signed)
        assert denied(document, call) == [], need


def test_rarely_called_actions_are_in_the_code() -> None:
    for path, call in RARELY_CALLED.values():
        assert call in (ROOT / path).read_text()
