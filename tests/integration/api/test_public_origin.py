"""The address in a playlist's URL: the setting's, a trusted proxy's, or this machine's, never what a client claims."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from urllib.parse import urlsplit

import pytest

from tests.integration.api.conftest import RunningApi
from tests.integration.api.films import film, url_of

type StartApi = Callable[..., AbstractAsyncContextManager[RunningApi]]

FORGED = (
    {"Host": "evil.example"},
    {"Host": "localhost.evil.example"},
    {"Host": "127.0.0.1@evil.example"},
    {"Host": "[::1"},
    {"Host": "evil.example", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"},
    {"Forwarded": "proto=https;host=evil.example"},
)
"""Headers that any client can send."""


async def origin_of(api: RunningApi, asset_id: str, headers: dict[str, str] | None = None) -> str:
    parts = urlsplit((await url_of(api, asset_id, headers=headers or {}))["url"])
    return f"{parts.scheme}://{parts.netloc}"


async def test_no_client_decides_the_origin_of_a_playlist(start_api: StartApi) -> None:
    async with start_api(trusted_proxies="192.0.2.0/24") as api:
        asset_id = await film(api)
        for headers in FORGED:
            assert await origin_of(api, asset_id, headers) == f"http://127.0.0.1:{api.http.port}", headers


async def test_page_on_this_machine_keeps_its_origin(start_api: StartApi) -> None:
    async with start_api() as api:
        asset_id = await film(api)
        for host in ("localhost:8005", "127.0.0.1:9", "[::1]:8005"):
            assert await origin_of(api, asset_id, {"Host": host}) == f"http://{host}"


async def test_public_url_is_used_whatever_is_said(start_api: StartApi) -> None:
    async with start_api(public_url="https://media.example/", trusted_proxies="127.0.0.0/8") as api:
        asset_id = await film(api)
        for headers in ({}, *FORGED):
            assert await origin_of(api, asset_id, headers) == "https://media.example"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Host": "media.example", "X-Forwarded-Proto": "https"}, "https://media.example"),
        ({"X-Forwarded-Proto": "https", "X-Forwarded-Host": "media.example:8443"}, "https://media.example:8443"),
        ({"Forwarded": 'for=192.0.2.1;proto=https;host="media.example"'}, "https://media.example"),
        # The client wrote the first element, the proxy appended the second.
        ({"Forwarded": "proto=http;host=evil.example, proto=https;host=media.example"}, "https://media.example"),
        (
            {"X-Forwarded-Proto": "http, https", "X-Forwarded-Host": "evil.example, media.example"},
            "https://media.example",
        ),
        ({"X-Forwarded-Proto": "javascript", "X-Forwarded-Host": "media.example"}, None),
        ({"X-Forwarded-Proto": "https", "X-Forwarded-Host": "media.example/path"}, None),
    ],
)
async def test_trusted_proxy_says_the_origin(
    start_api: StartApi, headers: dict[str, str], expected: str | None
) -> None:
    async with start_api(trusted_proxies="::1, 127.0.0.0/8") as api:
        found = await origin_of(api, await film(api), headers)
        assert found == expected or (expected is None and found == f"http://127.0.0.1:{api.http.port}")
