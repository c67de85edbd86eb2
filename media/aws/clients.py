"""Build the AWS clients in one place, so that pool sizes, deadlines, retries and signatures are the same everywhere."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

import structlog
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError

from media.aws import sqs_signature
from media.aws.signed_urls import Credentials
from media.errors import Dependency, UnavailableError
from media.network.proxies import is_local
from media.settings import Settings

log = structlog.get_logger(__name__)

POOL = 64
"""Connections per client. Ten long polls on ten connections would starve every other call."""
_USER_AGENT = "docfliq-media"
"""A fixed value: botocore otherwise rebuilds it on every call, 11 % of a receive loop's time."""


class AwsEndpoint(Protocol):
    """The settings that every client needs."""

    @property
    def aws_region(self) -> str: ...

    @property
    def aws_endpoint_url(self) -> str | None: ...


def config(
    settings: AwsEndpoint,
    *,
    read_timeout: float = 30.0,
    attempts: int = 3,
    validate: bool = True,
    s3: bool = False,
) -> AioConfig:
    """Return the configuration of a client. S3 addresses are path-style on a custom endpoint, virtual hosts on AWS."""
    style = "path" if settings.aws_endpoint_url else "virtual"
    return AioConfig(
        region_name=settings.aws_region,
        signature_version="s3v4" if s3 else "v4",
        connect_timeout=3.0,
        read_timeout=read_timeout,
        max_pool_connections=POOL,
        retries={"total_max_attempts": attempts, "mode": "standard"},
        user_agent=_USER_AGENT,
        parameter_validation=validate,
        s3={"addressing_style": style, "us_east_1_regional_endpoint": "regional"},
    )


type Sent = Callable[[str, str], None]
"""Receives the service and the operation of each request that is sent."""


class Clients:
    """Opens clients on demand. `stack` closes them, last first.

    Opening one raises UnavailableError when AWS's own configuration is wrong.

    `sent` is called for each request to S3 and MediaConvert, retries included: each is billed. Requests to SQS are
    counted by queue where they are made; a hook here would slow down the receive loop.
    """

    def __init__(self, settings: Settings, stack: AsyncExitStack, sent: Sent | None = None) -> None:
        self._settings = settings
        self._stack = stack
        self._sent = sent
        self._session = AioSession()
        self._source: AioCredentials | None = None

    async def s3(self, *, endpoint: str | None = None) -> Any:
        return await self._client("s3", endpoint or self._settings.aws_endpoint_url, config(self._settings, s3=True))

    async def credentials(self) -> Credentials:
        """Return the credentials that the clients sign with at this moment. Raises UnavailableError.

        A role's are refreshed before they expire.
        """
        try:
            self._source = self._source or await self._session.get_credentials()
            frozen = await self._source.get_frozen_credentials() if self._source else None
        except Exception as error:
            # Still stale after a refresh, a document without keys, a page of a proxy: botocore raises what it meets.
            log.exception("credentials.unforeseen")
            raise UnavailableError(Dependency.S3, f"no AWS credentials: {error!r}") from error
        if frozen is None or not frozen.access_key or not frozen.secret_key:
            raise UnavailableError(Dependency.S3, "there are no AWS credentials to sign with")
        # botocore has no public name for it.
        expires_at: datetime | None = getattr(self._source, "_expiry_time", None)
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token, expires_at)

    async def sqs(self) -> Any:
        """Open SQS's client, with one attempt per call: poller and acknowledger have retries of their own."""
        longest = float(self._settings.receive_wait) + 8.0
        sqs_signature.register()
        settings = config(self._settings, read_timeout=longest, attempts=1, validate=False).merge(
            AioConfig(signature_version=sqs_signature.VERSION)
        )
        return await self._client("sqs", self._settings.aws_endpoint_url, settings)

    async def cloudfront(self) -> Any:
        return await self._client("cloudfront", self._settings.aws_endpoint_url, config(self._settings))

    async def eventbridge(self) -> Any:
        """Open EventBridge's client, with one attempt per call: the outbox tries again."""
        return await self._client(
            "events", self._settings.aws_endpoint_url, config(self._settings, read_timeout=5.0, attempts=1)
        )

    async def mediaconvert(self) -> Any:
        settings = config(self._settings)
        endpoint = self._settings.mediaconvert_endpoint or self._settings.aws_endpoint_url
        return await self._client("mediaconvert", endpoint, settings)

    async def _client(self, service: str, endpoint: str | None, settings: AioConfig) -> Any:
        client = await _open(self._session, self._stack, service, endpoint, settings)
        sent = self._sent
        if sent and service != "sqs":

            def report(event_name: str, **_: Any) -> None:
                sent(service, event_name.rpartition(".")[2])

            client.meta.events.register("before-send", report)
        return client


async def open_s3(settings: AwsEndpoint, stack: AsyncExitStack) -> Any:
    """Return a client of S3 alone, which `stack` closes. Raises UnavailableError when AWS's configuration is wrong."""
    return await _open(AioSession(), stack, "s3", settings.aws_endpoint_url, config(settings, s3=True))


async def _open(
    session: AioSession, stack: AsyncExitStack, service: str, endpoint: str | None, settings: AioConfig
) -> Any:
    if endpoint and is_local(urlsplit(endpoint).hostname or ""):
        settings = settings.merge(AioConfig(proxies={}))
    try:
        return await stack.enter_async_context(session.create_client(service, endpoint_url=endpoint, config=settings))
    except Exception as error:  # a profile that does not exist, a file that cannot be read, odd credentials
        if not isinstance(error, BotoCoreError):
            log.exception("credentials.unforeseen")
        # All have one cause, the credentials or the configuration. No work waits for CloudFront by its name.
        dependency = Dependency(service) if service in Dependency else Dependency.S3
        raise UnavailableError(dependency, f"{type(error).__name__}: {error}") from error
