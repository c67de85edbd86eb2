"""Every code that AWS documents, and answers that no service gives, have a meaning; none ends in another exception."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import botocore.session
import pytest
import structlog
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from aiohttp import web
from aiohttp.test_utils import TestServer

from media.asset import ObjectVersion
from media.aws.bucket_checks import BucketSelfTest
from media.aws.clients import config
from media.aws.failures import COMMON, AccessCheck
from media.aws.mediaconvert import JobGoneError, Transcoder
from media.aws.s3 import ObjectStorage
from media.aws.s3_errors import ChangedObjectError, MissingObjectError
from media.aws.s3_multipart import MultipartUploads
from media.aws.sqs import DeadLetterQueue, MessageQueue
from media.errors import Dependency, RetryableError, UnavailableError
from tests.integration.media.conftest import settings_for

WHERE = ObjectVersion("bucket", "key", "v1")
S3_CODES = frozenset(
    "AccessDenied AllAccessDisabled ExpiredToken InvalidAccessKeyId InvalidToken RequestTimeTooSkewed"  # noqa: SIM905 - 23 quotes
    " SignatureDoesNotMatch InvalidRequest InvalidArgument KMS.DisabledException KMS.AccessDeniedException NoSuchKey"
    " AuthorizationHeaderMalformed PermanentRedirect SlowDown InternalError NoSuchVersion PreconditionFailed"
    " MethodNotAllowed InvalidObjectState EntityTooLarge MalformedXML NoSuchBucket".split()
)
ODD_BODIES = [
    b"",
    b"null",
    b"[]",
    b"7",
    b'"text"',
    b'{"Messages": 7}',
    b'{"Messages": [null]}',
    b'{"Failed": [{"Id": "99", "Code": "x"}]}',
    b'{"Successful": [{"Id": "0"}, {"Id": "0"}]}',
    b'{"Messages": [{"MessageId": "m", "Rec',
    b"<html>Zugriff f\xfcr alle verweigert</html>",
    "<html>\N{SNOWMAN}</html>".encode(),
    b"\x00\xff\xfe",
    b"[" * 100_000,
    b"<a>" * 50_000,
    b"x" * 2_000_000,
]


def modeled(service: str) -> list[str]:
    """Return every error code of botocore's model of a service."""
    model = botocore.session.get_session().get_service_model(service)
    shapes: list[Any] = model.error_shapes
    return sorted({str(shape.error_code) for shape in shapes} | set(COMMON) - {"KMS.*"})


@dataclass(slots=True)
class Server:
    """A server that answers everything alike."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    async def handle(self, request: web.Request) -> web.Response:
        await request.read()
        body = b"" if request.method == "HEAD" else self.body
        return web.Response(status=self.status, body=body, content_type=self.content_type, headers=self.headers)


@dataclass(slots=True)
class Adapters:
    """The adapters, on `server`."""

    server: Server
    s3: Any
    queue: MessageQueue
    dead: MessageQueue
    transcoder: Transcoder

    def storage(self, *, passes: bool) -> ObjectStorage:
        async def call() -> None:
            if not passes:
                raise PermissionError

        return ObjectStorage(self.s3, AccessCheck(Dependency.S3, call))


@pytest.fixture(autouse=True)
def captured() -> Iterator[None]:
    """Render no traces: those of large answers take seconds."""
    with structlog.testing.capture_logs():
        yield


@pytest.fixture(scope="module")
async def adapters() -> AsyncIterator[Adapters]:
    """Make the clients once: that takes longer than all their calls."""
    server = Server()
    app = web.Application(client_max_size=1 << 24)
    app.router.add_route("*", "/{any:.*}", server.handle)
    async with TestServer(app) as running, AsyncExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("AWS_ACCESS_KEY_ID", "a")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        url = str(running.make_url("")).rstrip("/")
        settings = settings_for(url)

        async def client(service: str, made: AioConfig) -> Any:
            return await stack.enter_async_context(
                AioSession().create_client(service, endpoint_url=url, region_name="eu-central-1", config=made)
            )

        s3 = await client("s3", config(settings, attempts=1, s3=True))
        sqs = await client("sqs", config(settings, attempts=1, validate=False))
        convert = await client("mediaconvert", config(settings, attempts=1))
        queue, dead = MessageQueue(sqs, "work", f"{url}/1/work"), DeadLetterQueue(sqs, "work", f"{url}/1/work")
        yield Adapters(server, s3, queue, dead, Transcoder(convert))


def s3_calls_of(storage: ObjectStorage) -> list[Callable[[], Awaitable[object]]]:
    return [
        lambda: storage.head(WHERE),
        lambda: storage.read(WHERE, limit=10),
        lambda: storage.write("bucket", "key", b"x", "text/plain"),
        lambda: storage.tag(WHERE, {"a": "b"}),
        lambda: storage.newest("bucket", "key"),
        lambda: storage.list("bucket", "prefix/"),
        lambda: storage.delete_prefix("bucket", "prefix/"),
        lambda: storage.is_versioned("bucket"),
    ]


def sqs_calls_of(queue: MessageQueue) -> list[Callable[[], Awaitable[object]]]:
    return [
        lambda: queue.receive(limit=10, wait=0, visibility=30),
        lambda: queue.delete(["r1", "r2"]),
        lambda: queue.change_visibility({"r1": 1, "r2": 2}),
        lambda: queue.send("body"),
        queue.depth,
        queue.arn,
    ]


def mediaconvert_calls_of(transcoder: Transcoder) -> list[Callable[[], Awaitable[object]]]:
    return [
        lambda: transcoder.create({"Role": "r", "Settings": {}}),
        lambda: transcoder.get("job"),
        lambda: transcoder.find("s3://b/k", asset_id="a", attempt=1),
        lambda: transcoder.cancel("job"),
        transcoder.ping,
    ]


async def outcome(call: Callable[[], Awaitable[object]]) -> type[BaseException] | None:
    try:
        async with asyncio.timeout(30):
            await call()
    except Exception as error:  # noqa: BLE001 - which one it is decides
        return type(error)
    return None


@pytest.mark.parametrize("passes", [True, False])
@pytest.mark.parametrize("status", [400, 403, 500])
async def test_every_refusal_of_s3_has_a_meaning(adapters: Adapters, status: int, passes: bool) -> None:
    storage, server = adapters.storage(passes=passes), adapters.server
    server.status, server.content_type = status, "application/xml"
    allowed = {MissingObjectError, ChangedObjectError, UnavailableError, *([RetryableError] if passes else [])}
    for code in {*S3_CODES, *modeled("s3")}:
        server.body = f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()
        found = {await outcome(call) for call in s3_calls_of(storage)} - {None}  # HEAD and "missing" are answers, too
        assert found, code
        assert found <= allowed, code
        if status == 403 and code.startswith(("AccessDenied", "KMS.")):
            assert found == {RetryableError if passes else UnavailableError}, code
        if code in {"ExpiredToken", "RequestTimeTooSkewed", "InvalidAccessKeyId"} and not passes:
            assert found == {UnavailableError}, code


@pytest.mark.parametrize("status", [400, 403, 500])
async def test_every_refusal_of_sqs_is_an_outage(adapters: Adapters, status: int) -> None:
    adapters.server.status, adapters.server.headers, adapters.server.content_type = status, {}, "application/json"
    for code in modeled("sqs"):
        adapters.server.body = json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": "m"}).encode()
        for call in [*sqs_calls_of(adapters.queue), lambda: adapters.dead.send("x" * 100)]:
            found = await outcome(call)
            assert found
            assert issubclass(found, UnavailableError), code


@pytest.mark.parametrize("status", [400, 403, 500])
async def test_every_refusal_of_mediaconvert_has_a_meaning(adapters: Adapters, status: int) -> None:
    adapters.server.status, adapters.server.headers, adapters.server.content_type = status, {}, "application/json"
    for code in modeled("mediaconvert"):
        adapters.server.headers = {"x-amzn-ErrorType": code}
        adapters.server.body = b'{"message": "m"}'
        for call in mediaconvert_calls_of(adapters.transcoder):
            assert await outcome(call) in {UnavailableError, JobGoneError, None}, code  # ListJobs is refused too


@pytest.mark.parametrize("status", [200, 403, 500])
@pytest.mark.parametrize("body", ODD_BODIES, ids=lambda body: repr(body[:20]))
async def test_an_odd_answer_is_an_outage(adapters: Adapters, body: bytes, status: int) -> None:
    server = adapters.server
    server.status, server.body, server.headers, server.content_type = status, body, {}, "application/json"
    for call in sqs_calls_of(adapters.queue):
        assert await outcome(call) in {UnavailableError, None}
    if status != 200 or body != b"":
        for call in sqs_calls_of(adapters.queue)[1:3]:
            assert await outcome(call) is UnavailableError, "nobody knows what was deleted or extended"
    for call in mediaconvert_calls_of(adapters.transcoder):
        assert await outcome(call) in {UnavailableError, RetryableError, JobGoneError, KeyError, None}
    server.content_type = "text/html"
    for call in s3_calls_of(adapters.storage(passes=False)):
        assert await outcome(call) in {UnavailableError, RetryableError, MissingObjectError, None}


@pytest.mark.parametrize(
    ("status", "code", "found"),
    [
        (404, "NoSuchUpload", None),
        (412, "PreconditionFailed", None),
        (404, "NoSuchBucket", UnavailableError),
        (405, "", UnavailableError),
    ],
)
async def test_only_s3_itself_says_that_an_upload_could_be_stored(
    adapters: Adapters, status: int, code: str, found: type[Exception] | None
) -> None:
    server, uploads = adapters.server, MultipartUploads(adapters.s3)
    server.status, server.headers, server.content_type = status, {}, "application/xml"
    server.body = f"<Error><Code>{code}</Code></Error>".encode() if code else b""
    assert await outcome(lambda: uploads.check("bucket", "key")) is found


@pytest.mark.parametrize("body", [body for body in ODD_BODIES if len(body) < 100], ids=repr)
async def test_a_page_in_the_place_of_every_object_is_an_outage(adapters: Adapters, body: bytes) -> None:
    server, self_test = adapters.server, BucketSelfTest(adapters.s3, "bucket")
    server.status, server.body, server.headers, server.content_type = 200, body, {}, "text/html"
    storage = ObjectStorage(adapters.s3, AccessCheck(Dependency.S3, self_test.check))
    for call in [self_test.read, self_test.check, *s3_calls_of(storage)[:-1]]:  # a page names no versioning
        assert await outcome(call) is UnavailableError


@pytest.mark.parametrize(
    "error",
    [RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired."), KeyError("Token")],
)
async def test_credentials_that_cannot_be_had_are_an_outage(
    adapters: Adapters, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stale(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("aiobotocore.signers.AioRequestSigner.sign", stale)
    monkeypatch.setattr("aiobotocore.signers.AioRequestSigner.handler", stale)
    calls = sqs_calls_of(adapters.queue) + s3_calls_of(adapters.storage(passes=False))
    for call in calls + mediaconvert_calls_of(adapters.transcoder):
        with pytest.raises(UnavailableError) as caught:
            await call()
        assert caught.value.is_unforeseen
