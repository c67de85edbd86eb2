"""Send a recording as the webinar service does: an object in its own bucket, and a message on the queue."""

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
    """A recording and its host. Each recording gets its own host here, who has no other asset."""

    host_id: str
    recording_id: str


@dataclass(frozen=True, slots=True)
class RecordingTarget:
    """The bucket for recordings, and the queue that announces them."""

    endpoint_url: str
    bucket: str
    queue_url: str


def new_webinar() -> Webinar:
    """Return a new host and recording with unique ids."""
    unique = uuid4().hex
    return Webinar(host_id=f"host-{unique}", recording_id=f"recording-{unique}")


async def send_recording(path: Path, content_type: str, webinar: Webinar, target: RecordingTarget) -> None:
    """Upload the file to the recordings bucket and announce it. Raises botocore's errors and OSError."""
    key = f"recordings/{webinar.recording_id}/{safe_file_name(path.name)}"
    session = get_session()
    session.set_credentials(ACCESS_KEY, SECRET_KEY)
    async with AsyncExitStack() as stack:
        s3 = await stack.enter_async_context(
            session.create_client("s3", region_name=REGION, endpoint_url=target.endpoint_url, config=CLIENT)
        )
        sqs = await stack.enter_async_context(
            session.create_client("sqs", region_name=REGION, endpoint_url=target.endpoint_url, config=CLIENT)
        )
        with SourceFile(path) as file:
            try:
                stored = await s3.put_object(Bucket=target.bucket, Key=key, Body=file, ContentType=content_type)
            except BotoCoreError as error:
                raise file.error or error from None
        message = WebinarRecording(
            recording_id=webinar.recording_id,
            webinar_id=f"webinar-of-{webinar.host_id}"[:200],
            host_id=webinar.host_id,
            bucket=target.bucket,
            key=key,
            version_id=stored.get("VersionId"),
            title=printable(path.name)[:500],
            recorded_at=datetime.now(UTC),
            content_type=content_type,
        )
        await sqs.send_message(QueueUrl=target.queue_url, MessageBody=message.model_dump_json())
