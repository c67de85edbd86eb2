"""The endpoint's configuration and its clients'."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from types_aiobotocore_s3 import S3Client


@dataclass(frozen=True, slots=True)
class Config:
    """`endpoint_url` is the emulator's; None means AWS. Times are seconds."""

    state: Path
    host: str = "127.0.0.1"
    port: int = 4570
    endpoint_url: str | None = None
    region: str = "eu-central-1"
    account: str = "000000000000"
    concurrency: int = 1
    queue_limit: int = 100
    """Jobs that may wait; past it CreateJob answers 429."""
    job_deadline: float = 6 * 3600.0
    """Seconds that one ffmpeg may run."""
    ffmpeg: str = "ffmpeg"
    ffprobe: str = "ffprobe"

    @property
    def queue_arn(self) -> str:
        return f"arn:aws:mediaconvert:{self.region}:{self.account}:queues/Default"

    def job_arn(self, job_id: str) -> str:
        return f"arn:aws:mediaconvert:{self.region}:{self.account}:jobs/{job_id}"


CLIENT = AioConfig(
    signature_version="s3v4",
    connect_timeout=5,
    read_timeout=60,
    retries={"mode": "standard", "max_attempts": 4},
    max_pool_connections=20,
    s3={"addressing_style": "path"},
)

EVENTS_CLIENT = AioConfig(connect_timeout=3, read_timeout=15, retries={"mode": "standard", "max_attempts": 1})
"""It retries nothing: the stored events are sent again."""


def session() -> AioSession:
    return get_session()


@asynccontextmanager
async def s3_client(config: Config) -> AsyncIterator[S3Client]:
    """Open an S3 client for the emulator: SigV4, path-style."""
    async with session().create_client(
        "s3", region_name=config.region, endpoint_url=config.endpoint_url, config=CLIENT
    ) as client:
        yield client
