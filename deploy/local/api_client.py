"""The media API as a client of the platform uses it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import BaseModel, ConfigDict, ValidationError
from yarl import URL

from deploy.local.announcement import Announcement
from deploy.local.source_file import SourceFile

BASE = "/api/v1/media"
CALL_DEADLINE = aiohttp.ClientTimeout(total=30)
TRANSFER_DEADLINE = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=120)
"""No total limit, since a video may be large. A transfer ends after 120 s without a byte."""

CHUNK = 1 << 20
ALREADY_THERE = 412
"""Precondition Failed: the object exists."""


class RefusedError(Exception):
    """An error response of the API: its HTTP status, its stable code and its detail."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.status = status
        self.code = code
        self.detail = detail

    @property
    def is_input(self) -> bool:
        """Whether the file is at fault, rather than the client or the service."""
        return self.code in {"too_large", "content_type_not_allowed"}


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class RenditionInfo(_Answer):
    name: str
    content_type: str
    width: int | None = None
    height: int | None = None
    bytes: int


class NoteInfo(_Answer):
    code: str
    detail: str


class AssetInfo(_Answer):
    asset_id: str
    asset_type: str
    status: str
    code: str | None = None
    detail: str | None = None
    width: int | None = None
    height: int | None = None
    duration_ms: int | None = None
    notes: Sequence[NoteInfo] = ()
    progress: int = 0
    renditions: Sequence[RenditionInfo] = ()


class UploadTicket(_Answer):
    asset_id: str
    upload_url: str
    headers: Mapping[str, str]


class _Page(_Answer):
    items: Sequence[AssetInfo]


class _Url(_Answer):
    url: str


class _Problem(_Answer):
    code: str = "error"
    detail: str = ""


class ApiClient:
    """The API for one user. Every method raises RefusedError, aiohttp.ClientError or TimeoutError."""

    def __init__(self, http: aiohttp.ClientSession, url: str, token: str) -> None:
        self._http = http
        self._base = url + BASE
        self._headers = {"Authorization": f"Bearer {token}"}

    async def request_upload(self, file_name: str, size: int, announced: Announcement) -> UploadTicket:
        body: dict[str, str | int] = {
            "asset_type": announced.asset_type,
            "content_type": announced.content_type,
            "original_filename": file_name,
        }
        if size:  # 0 cannot be announced; the scan rejects an empty file
            body["size"] = size
        return UploadTicket.model_validate_json(await self._call("POST", "/upload", json=body))

    async def put(self, ticket: UploadTicket, file: SourceFile) -> None:
        """Send the file to S3. An object that exists already counts as sent. Raises OSError for an unreadable file."""
        url = URL(ticket.upload_url, encoded=True)  # the signature covers this exact spelling
        try:
            async with self._http.put(url, data=file, headers=ticket.headers, timeout=TRANSFER_DEADLINE) as answer:
                if answer.status not in {200, ALREADY_THERE}:
                    raise RefusedError(answer.status, "upload_failed", (await answer.text())[:500])
        except aiohttp.ClientError as error:
            raise file.error or error from None

    async def confirm(self, asset_id: str) -> AssetInfo:
        return AssetInfo.model_validate_json(await self._call("POST", "/upload/confirm", json={"asset_id": asset_id}))

    async def asset(self, asset_id: str) -> AssetInfo:
        return AssetInfo.model_validate_json(await self._call("GET", f"/assets/{asset_id}"))

    async def assets(self) -> Sequence[AssetInfo]:
        """Return the newest assets of this user."""
        return _Page.model_validate_json(await self._call("GET", "/assets")).items

    async def url(self, asset_id: str, rendition: str) -> str:
        body = await self._call("GET", f"/assets/{asset_id}/url", params={"rendition": rendition})
        return _Url.model_validate_json(body).url

    async def _call(self, method: str, path: str, **arguments: Any) -> bytes:
        async with self._http.request(
            method, self._base + path, headers=self._headers, timeout=CALL_DEADLINE, **arguments
        ) as answer:
            body = await answer.read()
            if answer.ok:
                return body
            try:
                problem = _Problem.model_validate_json(body)
            except ValidationError:
                problem = _Problem(detail=body.decode(errors="replace")[:500])
            raise RefusedError(answer.status, problem.code, problem.detail)


async def download(http: aiohttp.ClientSession, url: str, target: Path) -> None:
    """Download `url` to `target`, whole or not at all. Raises aiohttp.ClientError, TimeoutError, OSError."""
    partial = target.with_name(target.name + ".part")
    try:
        async with http.get(URL(url, encoded=True), timeout=TRANSFER_DEADLINE, raise_for_status=True) as answer:
            with partial.open("wb") as file:
                async for chunk in answer.content.iter_chunked(CHUNK):
                    file.write(chunk)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)  # what is left of it where the disk is full
