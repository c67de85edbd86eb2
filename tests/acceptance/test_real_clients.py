"""Other clients of the API and the storage: curl, and the HTTP client of the AWS SDK."""

import asyncio
import json
import shutil
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterable, Mapping
from io import BytesIO
from pathlib import Path

import aiohttp
import pytest
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.httpsession import URLLib3Session
from PIL import Image

from deploy.local.announcement import announce
from deploy.local.api_client import BASE, ApiClient, AssetInfo, UploadTicket
from tests.conftest import EmbeddedStack
from tests.fakes.caching_proxy import FROM_CACHE, caching_proxy
from tests.integration.stack.client import open_client

DEADLINE = 60
"""Seconds for one call. The longest one waits until a picture is scanned and rendered."""
ENDS = {"ready", "rejected", "failed"}


@pytest.fixture(scope="module")
def curl() -> str:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed: apt-get install --no-install-recommends curl")
    return program


class Curl:
    """curl with a user's token."""

    def __init__(self, program: str, stack: EmbeddedStack) -> None:
        self._program = program
        self._api = stack.api_url + BASE
        self._token = stack.token(user="curl")

    async def api(self, path: str, body: Mapping[str, object] | None = None) -> bytes:
        """Call the API and return the body. Fail the test unless the status is 200 or 201."""
        sent = ["--header", "Content-Type: application/json", "--data", json.dumps(body)] if body else []
        status, answer = await self.run("--header", f"Authorization: Bearer {self._token}", *sent, self._api + path)
        assert status in {200, 201}, answer
        return answer

    async def put(self, ticket: UploadTicket, path: Path, headers: Mapping[str, str]) -> int:
        given = [part for name, value in headers.items() for part in ("--header", f"{name}: {value}")]
        status, _ = await self.run("--upload-file", str(path), *given, ticket.upload_url)
        return status

    async def run(self, *arguments: str) -> tuple[int, bytes]:
        """Run curl and return status and body."""
        options = ["--silent", "--show-error", "--max-time", str(DEADLINE), "--write-out", r"\n%{http_code}"]
        process = await asyncio.create_subprocess_exec(self._program, *options, *arguments, stdout=PIPE, stderr=PIPE)
        stdout, stderr = await process.communicate()
        assert process.returncode == 0, stderr.decode()
        body, _, status = stdout.rpartition(b"\n")
        return int(status), body

    async def wait_for_end(self, asset_id: str) -> AssetInfo:
        """Wait until an asset is finished, on its event stream."""
        options = ["--silent", "--no-buffer", "--max-time", str(DEADLINE)]
        authorized = ["--header", f"Authorization: Bearer {self._token}", f"{self._api}/assets/{asset_id}/events"]
        process = await asyncio.create_subprocess_exec(self._program, *options, *authorized, stdout=PIPE)
        assert process.stdout
        try:
            return await read_end(process.stdout)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def read_end(stream: AsyncIterable[bytes]) -> AssetInfo:
    """Read an asset's event stream until the asset is finished."""
    async for line in stream:
        if line.startswith(b"data: "):
            asset = AssetInfo.model_validate_json(line.removeprefix(b"data: "))
            if asset.status in ENDS:
                return asset
    raise AssertionError("the stream ended before the asset did")


def announcement(path: Path, **fields: object) -> Mapping[str, object]:
    size = path.stat().st_size
    return {"asset_type": "image", "content_type": "image/jpeg", "original_filename": path.name, "size": size} | fields


@pytest.mark.parametrize("announced", [True, False], ids=["size announced", "size unknown"])
async def test_curl_sends_a_photo_and_fetches_a_rendition(
    curl: str, stack: EmbeddedStack, photo: Path, announced: bool
) -> None:
    client = Curl(curl, stack)
    body = announcement(photo) if announced else announcement(photo, size=None)
    ticket = UploadTicket.model_validate_json(await client.api("/upload", body))
    assert await client.put(ticket, photo, ticket.headers) == 200
    assert await client.put(ticket, photo, ticket.headers) == 412  # The object exists and cannot be replaced.
    confirmed = AssetInfo.model_validate_json(await client.api("/upload/confirm", {"asset_id": ticket.asset_id}))
    assert confirmed.asset_id == ticket.asset_id
    asset = await client.wait_for_end(ticket.asset_id)
    assert (asset.status, asset.width, asset.height) == ("ready", 2400, 1600)
    link = json.loads(await client.api(f"/assets/{ticket.asset_id}/url?rendition=w640"))
    status, content = await client.run(link["url"])
    assert status == 200
    with Image.open(BytesIO(content), formats=["WEBP"]) as opened:
        assert opened.size == (640, 427)
    assert (await client.run(link["url"].replace("Signature=", "Signature=0")))[0] == 403


@pytest.mark.parametrize(("missing", "status"), [("Content-Type", 403), ("If-None-Match", 200)])
async def test_a_put_needs_its_content_type_alone(
    curl: str, stack: EmbeddedStack, photo: Path, missing: str, status: int
) -> None:
    client = Curl(curl, stack)
    ticket = UploadTicket.model_validate_json(await client.api("/upload", announcement(photo)))
    headers = {name: value for name, value in ticket.headers.items() if name != missing}
    assert len(headers) == len(ticket.headers) - 1
    assert await client.put(ticket, photo, headers) == status


def send(method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> AWSResponse:
    """Send one request with the SDK's HTTP client, as it does after signing."""
    session = URLLib3Session(timeout=DEADLINE)
    try:
        answer: AWSResponse = session.send(AWSRequest(method, url, dict(headers), body or None).prepare())
        _ = answer.content  # Read it before the connection is closed.
        return answer
    finally:
        session.close()


@pytest.mark.parametrize("extra", [{}, {"Expect": "100-continue"}], ids=["plain", "expecting 100"])
async def test_the_sdks_http_sends_a_photo_and_fetches_it(
    stack: EmbeddedStack, photo: Path, extra: Mapping[str, str]
) -> None:
    content = await asyncio.to_thread(photo.read_bytes)
    async with aiohttp.ClientSession() as http:
        api = ApiClient(http, stack.api_url, stack.token(user="sdk"))
        ticket = await api.request_upload(photo.name, len(content), announce(photo))
        answer = await asyncio.to_thread(send, "PUT", ticket.upload_url, {**ticket.headers, **extra}, content)
        assert answer.status_code == 200, answer.text
        await api.confirm(ticket.asset_id)
        headers = {"Authorization": f"Bearer {stack.token(user='sdk')}"}
        async with http.get(f"{stack.api_url}{BASE}/assets/{ticket.asset_id}/events", headers=headers) as live:
            assert (await read_end(live.content)).status == "ready"
        fetched = await asyncio.to_thread(send, "GET", await api.url(ticket.asset_id, "w150"), {})
        assert (fetched.status_code, fetched.headers["Content-Type"]) == (200, "image/webp")
    answer = await asyncio.to_thread(send, "PUT", ticket.upload_url, ticket.headers, content)
    assert answer.status_code == 412


@pytest.mark.parametrize(("delivery", "second"), [("public", "HIT"), ("verification_document", "MISS")])
async def test_caching_proxy_keeps_nothing_private(
    stack: EmbeddedStack, photo: Path, tmp_path: Path, delivery: str, second: str
) -> None:
    content = await asyncio.to_thread(photo.read_bytes)
    async with open_client(stack, "behind-a-proxy") as client:
        asset = await client.upload("image", "image/jpeg", photo.name, content, delivery=delivery)
        url = (await client.get(asset["asset_id"], "/url?rendition=w150"))["url"]
        found = []
        async with caching_proxy(url, tmp_path) as proxy:
            for _ in range(2):
                async with client.plain.get(proxy.url(url), raise_for_status=True) as answer:
                    assert (await answer.read())[:4] == b"RIFF"
                    found.append(answer.headers[FROM_CACHE])
    assert found == ["MISS", second]
