"""The loopback proxy serves ranges of one object version to clients that know its address, and nothing else."""

import socket
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import aiohttp
import pytest

from handlers.transcode.ffmpeg import source_proxy
from handlers.transcode.ffmpeg.source_proxy import ServedObject, SourceProxy
from media.asset import ObjectVersion
from media.errors import Code, RejectedError
from tests.integration.transcode.engine_harness import Harness

DATA = bytes(range(256)) * 64


@pytest.fixture
async def proxy(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SourceProxy]:
    monkeypatch.setattr(source_proxy, "BLOCK", 1000)
    put = await harness.s3.put_object(Bucket=harness.bucket, Key="source", Body=DATA)
    await harness.s3.put_object(Bucket=harness.bucket, Key="source", Body=b"another upload")
    version = ObjectVersion(harness.bucket, "source", put["VersionId"])
    served = ServedObject(version, len(DATA), put["ETag"].strip('"'))
    async with SourceProxy(harness.finalizer.transfer, served).running() as running:
        yield running


async def get(url: str, **headers: str) -> tuple[int, bytes, str]:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status, await answer.read(), answer.headers.get("Content-Range", "")


async def test_bound_version_is_served_whole(proxy: SourceProxy) -> None:
    assert await get(proxy.url) == (200, DATA, f"bytes 0-{len(DATA) - 1}/{len(DATA)}")


@pytest.mark.parametrize(("first", "last"), [(0, 0), (5, 2004), (999, 1000), (16_000, 16_383)])
async def test_any_range_is_served(proxy: SourceProxy, first: int, last: int) -> None:
    status, body, place = await get(proxy.url, Range=f"bytes={first}-{last}")
    assert (status, body, place) == (206, DATA[first : last + 1], f"bytes {first}-{last}/{len(DATA)}")


async def test_open_range_ends_with_the_object(proxy: SourceProxy) -> None:
    assert (await get(proxy.url, Range="bytes=16380-"))[:2] == (206, DATA[16380:])
    assert (await get(proxy.url, Range="bytes=16380-99999999"))[1] == DATA[16380:]
    assert (await get(proxy.url, Range=f"bytes={len(DATA)}-"))[0] == 416
    assert (await get(proxy.url, Range="bytes=-5"))[0] == 416
    assert (await get(proxy.url, Range="bytes=5-2"))[0] == 416


async def test_other_addresses_and_methods_are_refused(proxy: SourceProxy) -> None:
    base = proxy.url.rpartition("/")[0]
    assert [(await get(f"{base}{path}"))[0] for path in ("/", "/source", "/..%2fsource")] == [404, 404, 404]
    async with aiohttp.ClientSession() as session:
        for method in ("PUT", "POST", "DELETE"):
            async with session.request(method, proxy.url, data=b"x") as answer:
                assert answer.status == 405
        async with session.head(proxy.url) as answer:
            assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(DATA)))


async def test_proxy_listens_on_the_loopback_only_while_running(proxy: SourceProxy) -> None:
    port = urlsplit(proxy.url).port
    assert urlsplit(proxy.url).hostname == "127.0.0.1"
    assert port
    with socket.socket() as other:
        other.bind(("127.0.0.2", port))


async def test_missing_object_is_recorded_as_the_failure(proxy: SourceProxy, harness: Harness) -> None:
    await harness.finalizer.storage.delete_key(harness.bucket, "source")
    with pytest.raises(aiohttp.ClientError):
        await get(proxy.url)
    assert isinstance(proxy.failure, RejectedError)
    assert proxy.failure.code is Code.SOURCE_MISSING
