"""Whatever a peer answers, through its wire: an adapter ends in an error that it names, and believes nothing undone.

The default run tries twenty answers of each peer, `-m soak` 10,000 in all. As many again reach a whole worker in
`unit/consumer/queue/test_odd_answers.py`.
"""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import structlog
from aiobotocore.session import AioSession
from aiobotocore.utils import AioContainerMetadataFetcher
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers.scan.clamd.client import Clamd
from handlers.scan.clamd.instream import Reply
from handlers.scan.clamd.verdict import read_reply
from media.asset import Verdict
from media.asset_store import database
from media.aws.clients import Clients, config
from media.aws.failures import UNFORESEEN, AccessCheck, classify
from media.aws.mediaconvert import JobGoneError, Transcoder
from media.aws.s3 import ObjectStorage
from media.aws.s3_errors import ChangedObjectError, MissingObjectError
from media.aws.s3_multipart import MultipartUploads
from media.aws.sqs import MessageQueue, NewMessage
from media.errors import Dependency, RetryableError, UnavailableError
from tests.integration.media.conftest import settings_for
from tests.integration.media.test_odd_answers import WHERE
from tests.unit.handlers.scan.clamd.fake_clamd import fake_clamd, says

FEW, MANY = 20, 1_700
"""Answers of each of the six peers."""
PROFILE: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
}
DEADLINE = 60.0
"""Seconds for one call: nothing hangs."""

IDS = st.sampled_from(["0", "1", "2", "x", 0, None])
ENTRIES = st.lists(st.fixed_dictionaries({}, optional={"Id": IDS, "Code": IDS}), max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["Job", "Messages", "Id"]), inner),
    max_leaves=6,
)
BATCHES = st.fixed_dictionaries({}, optional={"Successful": ENTRIES | JSON, "Failed": ENTRIES | JSON})
XML = st.builds(
    "<{0}><{1}>{2}</{1}></{0}>".format,
    st.sampled_from(["Error", "CopyObjectResult", "ListVersionsResult", "html"]),
    st.sampled_from(["Code", "ETag", "Version", "Key"]),
    st.sampled_from(["AccessDenied", "NoSuchKey", "NoSuchUpload", "InvalidPart", "x", "&", ""]),
)
BODIES = st.one_of(
    st.binary(max_size=100),
    st.builds(lambda value: json.dumps(value).encode(), JSON | BATCHES),
    XML.map(str.encode),
    st.sampled_from([b"<html>f\xfcr</html>", b"[" * 5_000, b"<a>" * 5_000, b'{"Messages": [{"Messa']),
)
HEADERS = st.dictionaries(
    st.sampled_from(["ETag", "x-amzn-ErrorType", "x-amz-version-id", "Content-Encoding", "Content-Type"]),
    st.sampled_from(['"e"', "", "Throttling", "gzip", "application/json", "text/html", "\xff"]),
    max_size=3,
)
STATUSES = st.sampled_from([200, 200, 200, 204, 206, 301, 304, 400, 403, 404, 405, 409, 412, 416, 429, 500, 503])


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer, of which the last `cut` bytes never arrive."""

    status: int
    headers: dict[str, str]
    body: bytes
    cut: int

    def encoded(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} x", f"Content-Length: {len(self.body)}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        whole = "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body
        return whole[: len(whole) - self.cut] if self.cut else whole


ANSWERS = st.builds(HttpAnswer, STATUSES, HEADERS, BODIES, st.sampled_from([0, 0, 0, 1, 5, 40]))


class Wire:
    """A server that reads what it is sent, answers, and hangs up."""

    def __init__(self) -> None:
        self.greeting = b""
        self.answer = b""
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.greeting:
                await reader.read(65_536)
                writer.write(self.greeting)
                await writer.drain()
            await reader.read(65_536)
            writer.write(self.answer)
            await writer.drain()
        except ConnectionError:
            pass  # the client did not like it
        finally:
            writer.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Wire"]:
        async with await asyncio.start_server(self.serve, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self


@pytest.fixture(autouse=True)
def captured() -> Iterator[None]:
    """Render no traces: they take most of the time."""
    with structlog.testing.capture_logs():
        yield


async def outcome(call: Callable[[], Awaitable[object]]) -> object:
    """Return what a call returned, or the error that it raised."""
    try:
        async with asyncio.timeout(DEADLINE):
            return await call()
    except Exception as error:  # noqa: BLE001 - which one it is decides
        return error


def told(body: bytes) -> set[str]:
    """Return the entries that an answer to a batch tells to be done."""
    try:
        return {str(entry["Id"]) for entry in json.loads(body)["Successful"]}
    except (ValueError, TypeError, KeyError):
        return set()


type Check = Callable[[Any], Coroutine[Any, Any, None]]
"""Has a peer give one answer, and looks at what the adapter makes of it."""


def fuzz(count: int, answers: st.SearchStrategy[Any], peer: Callable[[], AbstractAsyncContextManager[Check]]) -> None:
    """Check `count` answers of a peer, which is opened once."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        check = runner.run(stack.enter_async_context(peer()))
        try:

            @settings(max_examples=count, derandomize=count == FEW, **PROFILE)  # the default run repeats itself
            @given(answers)
            def run(answer: Any) -> None:
                runner.run(check(answer))

            run()
        finally:
            runner.run(stack.aclose())


@asynccontextmanager
async def aws_clients() -> AsyncIterator[tuple[Wire, Any, Any, Any]]:
    async with Wire().running() as wire, AsyncExitStack() as stack:
        url = f"http://127.0.0.1:{wire.port}"
        made = settings_for(url)

        async def client(service: str) -> Any:
            options = config(made, attempts=1, s3=service == "s3", validate=service != "sqs")
            session = AioSession()
            session.set_credentials("a", "b")
            return await stack.enter_async_context(
                session.create_client(service, endpoint_url=url, region_name="eu-central-1", config=options)
            )

        yield wire, await client("s3"), await client("sqs"), await client("mediaconvert")


@asynccontextmanager
async def sqs_peer() -> AsyncIterator[Check]:
    async with aws_clients() as (wire, _, client, _):
        queue = MessageQueue(client, "work", f"http://127.0.0.1:{wire.port}/1/work")

        async def check(answer: HttpAnswer) -> None:
            wire.answer = answer.encoded()
            deleted = await outcome(lambda: queue.delete(["r0", "r1"]))
            extended = await outcome(lambda: queue.change_visibility({"r0": 1, "r1": 1}))
            for found in (deleted, extended):
                if isinstance(found, list):
                    assert {f"r{done}" for done in told(answer.body)} | {one.receipt for one in found} == {"r0", "r1"}
                else:
                    assert isinstance(found, UnavailableError)
            sent = await outcome(lambda: queue.send_batch([NewMessage("a"), NewMessage("b")]))
            if isinstance(sent, list):
                assert {str(number) for number, was_sent in enumerate(sent) if was_sent} <= told(answer.body)
            else:
                assert isinstance(sent, UnavailableError)
            assert isinstance(await outcome(lambda: queue.send("a")), UnavailableError), "it names no message"
            received = await outcome(lambda: queue.receive(limit=10, wait=0, visibility=30))
            assert received == [] or isinstance(received, UnavailableError)
            assert isinstance(await outcome(queue.depth), UnavailableError)

        yield check


NAMED = (UnavailableError, RetryableError, MissingObjectError, ChangedObjectError)


@asynccontextmanager
async def s3_peer() -> AsyncIterator[Check]:
    async with aws_clients() as (wire, client, _, _):

        async def refuse() -> None:
            raise PermissionError

        storage = ObjectStorage(client, AccessCheck(Dependency.S3, refuse))
        parts = MultipartUploads(client)

        async def check(answer: HttpAnswer) -> None:
            wire.answer = answer.encoded()
            body = await outcome(lambda: storage.read(WHERE, limit=1000))
            assert isinstance(body, NAMED) or body == answer.body, "a body that was cut is none"
            written = await outcome(lambda: storage.write("bucket", "key", b"x", "text/plain"))
            assert isinstance(written, NAMED) or answer.headers.get("ETag"), "nobody said that it was stored"
            for call in (
                lambda: storage.copy(WHERE, "bucket", "other"),
                lambda: storage.newest("bucket", "key"),
                lambda: storage.tag(WHERE, {"a": "b"}),
                lambda: storage.delete_prefix("bucket", "prefix/"),
                lambda: storage.is_versioned("bucket"),
            ):
                found = await outcome(call)
                assert not isinstance(found, Exception) or isinstance(found, NAMED)
                assert found is not True, "nothing says that the bucket is versioned"
            checked = await outcome(lambda: parts.check("bucket", "key"))
            named = any(
                code in answer.body for code in (b"NoSuchUpload", b"InvalidPart", b"EntityTooSmall", b"Precondition")
            )
            has_etag = answer.headers.get("ETag") or re.search(rb"<ETag>[^<]*[^<\s]", answer.body)
            is_told = named or answer.status in {404, 412} or has_etag
            assert isinstance(checked, UnavailableError) or is_told, "nobody said that it may be stored"

        yield check


@asynccontextmanager
async def mediaconvert_peer() -> AsyncIterator[Check]:
    async with aws_clients() as (wire, _, _, client):
        transcoder = Transcoder(client)

        async def check(answer: HttpAnswer) -> None:
            wire.answer = answer.encoded()
            for call in (
                lambda: transcoder.create({"Role": "r", "Settings": {}}),
                lambda: transcoder.get("job"),
                lambda: transcoder.find("s3://b/k", asset_id="a", attempt=1),
                lambda: transcoder.cancel("job"),
            ):
                found = await outcome(call)
                if isinstance(found, Exception) and not isinstance(found, (UnavailableError, JobGoneError)):
                    assert classify(found, {}) is UNFORESEEN, "ListJobs is answered alike, so the job may be to blame"

        yield check


@asynccontextmanager
async def credentials_peer() -> AsyncIterator[Check]:
    async with Wire().running() as wire, AsyncExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        patch.setenv("AWS_CONFIG_FILE", "/dev/null")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{wire.port}/credentials")
        patch.setattr(AioContainerMetadataFetcher, "SLEEP_TIME", 0)

        async def check(answer: HttpAnswer) -> None:
            wire.answer = answer.encoded()
            async with AsyncExitStack() as opened:
                clients = Clients(settings_for("http://127.0.0.1:9"), opened)
                assert isinstance(await outcome(clients.credentials), UnavailableError)

        yield check


GREETING = b"R\0\0\0\x08\0\0\0\0S\0\0\0\x18server_version\x0017.0\0S\0\0\0\x19client_encoding\0UTF8\0Z\0\0\0\x05I"
"""A server of Postgres that takes a session without a password."""
FRAMES = st.lists(
    st.builds(
        lambda kind, body, short: kind + (len(body) + 4 - short).to_bytes(4, "big", signed=True) + body,
        st.sampled_from([b"1", b"2", b"t", b"T", b"D", b"C", b"E", b"n", b"Z", b"N", b"A", b"S", b"x"]),
        st.binary(max_size=20)
        | st.sampled_from([b"I", b"SFATAL\0C57P01\0Mx\0\0", b"C\xff\0\0", b"\0\0\0\0\0\x17", b"SELECT 1\0"]),
        st.sampled_from([0, 0, 0, 3, 9]),
    ),
    max_size=6,
).map(b"".join)


def is_survived(answer: bytes) -> bool:
    """Say whether asyncpg gets past an answer. At a message of type NUL it does not: that is the loop's watchdog's."""
    at = 0
    while 0 <= at <= len(answer) - 5:
        if not answer[at]:
            return False
        at += 1 + max(4, int.from_bytes(answer[at + 1 : at + 5], "big", signed=True))
    return True


@asynccontextmanager
async def postgres_peer() -> AsyncIterator[Check]:
    async with Wire().running() as wire:

        async def check(answer: tuple[bool, bytes]) -> None:
            greets, wire.answer = answer
            wire.greeting = GREETING if greets else b""
            dsn = f"postgresql://u@127.0.0.1:{wire.port}/d?sslmode=disable"
            async with database.connect(dsn) as pool:
                assert isinstance(await outcome(lambda: pool.fetchval("SELECT 1")), UnavailableError)

        yield check


@asynccontextmanager
async def clamd_peer() -> AsyncIterator[Check]:
    async with AsyncExitStack() as stack:
        fake = await stack.enter_async_context(fake_clamd(says(b"")))

        async def check(answer: tuple[str, bytes]) -> None:
            fake.version, said = answer
            fake.behave = says(said)
            one = Clamd(fake.address, timeout=10.0)
            found = await outcome(lambda: one.scan(pieces, 10))
            if not isinstance(found, Reply):
                assert isinstance(found, UnavailableError)
            else:
                assert (read_reply(found).verdict is Verdict.CLEAN) == (said == b"stream: OK\0")

        yield check


@asynccontextmanager
async def pieces() -> AsyncIterator[AsyncIterator[bytes]]:
    async def generate() -> AsyncIterator[bytes]:
        yield b"x" * 10

    yield generate()


SAID = st.binary(max_size=60) | st.sampled_from(
    [b"stream: OK\0", b"stream: OK", b"stream: x FOUND\0", b"stream: OK\0\0"]
)
VERSIONS = st.just("ClamAV 1.4.6/27500/Sun Nov 22 08:00:00 2026") | st.binary(max_size=20).map(os.fsdecode)


# asyncpg's own finalizer fails on a connection that was never made.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=[pytest.mark.soak, pytest.mark.timeout(3000)])])
@pytest.mark.parametrize(
    ("peer", "answers"),
    [
        (sqs_peer, ANSWERS),
        (s3_peer, ANSWERS),
        (mediaconvert_peer, ANSWERS),
        (credentials_peer, ANSWERS),
        (postgres_peer, st.tuples(st.booleans(), (FRAMES | st.binary(max_size=60)).filter(is_survived))),
        (clamd_peer, st.tuples(VERSIONS, SAID)),
    ],
    ids=["sqs", "s3", "mediaconvert", "credentials", "postgres", "clamd"],
)
def test_no_answer_is_believed_or_ends_in_an_error_without_a_name(
    peer: Callable[[], AbstractAsyncContextManager[Check]], answers: st.SearchStrategy[Any], count: int
) -> None:
    fuzz(count, answers, peer)
