"""Hands in a recording the way the webinar service does: the object in its own bucket, a message on the queue."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError

from deploy.local.announcement import printable
from deploy.local.emulator import ACCESS_KEY, REGION, SECRET_KEY
from deploy.local.source_file import SourceFile
from media.asset import safe_file_name
from media.contracts import WebinarRecording

CLIENT = AioConfig(
    signature_version="s3v4",
    connect_timeout=10,
    read_timeout=120,
    retries={"mode": "standard", "total_max_attempts": 3},
    s3={"addressing_style": "path"},
)


@dataclass(frozen=True, slots=True)
class Webinar:
    """Who gives it. Each recording has a host of its own here, whose only asset is the recording's."""

    host_id: str
    recording_id: str


@dataclass(frozen=True, slots=True)
class Inbox:
    """Where the webinar service puts recordings, and where it tells of them."""

    endpoint_url: str
    bucket: str
    queue_url: str


def invent() -> Webinar:
    """A host and a recording that nobody has used before."""
    unique = uuid4().hex
    return Webinar(host_id=f"host-{unique}", recording_id=f"recording-{unique}")


async def hand_in(path: Path, content_type: str, webinar: Webinar, inbox: Inbox) -> None:
    """Upload the file to the recordings bucket and announce it. Raises botocore's errors and OSError."""
    key = f"recordings/{webinar.recording_id}/{safe_file_name(path.name)}"
    session = get_session()
    session.set_credentials(ACCESS_KEY, SECRET_KEY)
    async with AsyncExitStack() as stack:
        s3 = await stack.enter_async_context(
            session.create_client("s3", region_name=REGION, endpoint_url=inbox.endpoint_url, config=CLIENT)
        )
        sqs = await stack.enter_async_context(
            session.create_client("sqs", region_name=REGION, endpoint_url=inbox.endpoint_url, config=CLIENT)
        )
        with SourceFile(path) as file:
            try:
                stored = await s3.put_object(Bucket=inbox.bucket, Key=key, Body=file, ContentType=content_type)
            except BotoCoreError as error:
                raise file.error or error from None
        message = WebinarRecording(
            recording_id=webinar.recording_id,
            webinar_id=f"webinar-of-{webinar.host_id}"[:200],
            host_id=webinar.host_id,
            bucket=inbox.bucket,
            key=key,
            version_id=stored.get("VersionId"),
            title=printable(path.name)[:500],
            recorded_at=datetime.now(UTC),
            content_type=content_type,
        )
        await sqs.send_message(QueueUrl=inbox.queue_url, MessageBody=message.model_dump_json())
