"""Every HTTP client of the service uses the proxy, except for local hosts."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from handlers.transcode.probing.ffprobe import Ffprobe
from media.aws.clients import Clients
from media.network.proxies import proxy_for
from tests.fakes.http_proxy import forward_proxy
from tests.unit.media.test_settings import complete


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    return monkeypatch


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://identity.example/keys", "http://plain:1"),
        ("https://identity.example/keys", "http://secure:2"),
        ("https://keys.near.example/keys", None),
        ("https://near.example:8443/keys", None),
        ("http://localhost:4566", None),
        ("http://127.0.0.1:4566", None),
        ("http://[::1]:4566", None),
        ("http://169.254.170.2/task-protection/v1/state", None),
        ("http://[fe80::1]/", None),
        ("http://10.0.0.1/", "http://plain:1"),
    ],
)
def test_proxy_of_an_address(environment: pytest.MonkeyPatch, url: str, proxy: str | None) -> None:
    environment.setenv("HTTP_PROXY", "http://plain:1")
    environment.setenv("HTTPS_PROXY", "http://secure:2")
    environment.setenv("NO_PROXY", "near.example")
    assert proxy_for(url) == proxy


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("http://media.example/a.mp4?X-Amz-Signature=1", ["GET http://media.example:80/a.mp4?X-Amz-Signature=1"]),
        ("https://media.example/a.mp4", ["CONNECT media.example:443"]),
        ("http://127.0.0.1:9/a.mp4", []),
    ],
)
async def test_ffprobe_reads_through_the_proxy(
    environment: pytest.MonkeyPatch, tmp_path: Path, url: str, asked: list[str]
) -> None:
    async with forward_proxy() as proxy:
        environment.setenv("HTTP_PROXY", proxy.url)
        environment.setenv("HTTPS_PROXY", proxy.url)
        read = await Ffprobe("ffprobe", 20, scratch=tmp_path).read(url, "-show_format")
        assert not read.ok
        assert proxy.asked[:1] == asked


@pytest.mark.parametrize(("endpoint", "by_proxy"), [("http://s3.example", True), ("http://127.0.0.1:9", False)])
async def test_aws_is_called_through_the_proxy_unless_it_is_local(
    environment: pytest.MonkeyPatch, endpoint: str, by_proxy: bool
) -> None:
    async with forward_proxy() as proxy, AsyncExitStack() as stack:
        environment.setenv("HTTP_PROXY", proxy.url)
        clients = Clients(complete(environment, AWS_ENDPOINT_URL=endpoint), stack)
        mediaconvert = await clients.mediaconvert()
        with pytest.raises((ClientError, BotoCoreError)):
            await mediaconvert.list_jobs()
        assert bool(proxy.asked) == by_proxy
