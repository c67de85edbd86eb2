"""Sends files through a running stack as a client would, and brings back what became of them."""

import asyncio
import mimetypes
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict

from deploy.local import hls, recording, tokens
from deploy.local.announcement import announce, printable
from deploy.local.api_client import ApiClient, AssetInfo, RefusedError, RenditionInfo, download
from deploy.local.hls import PlaylistError
from deploy.local.source_file import SourceFile
from deploy.local.state import Running
from media.asset import TERMINAL

USER = "local"
FILES_AT_ONCE = 16
POLL_PAUSE = 0.25
SILENCE_LIMIT = 900.0
"""Seconds without any change of an asset, after which nobody waits for it any more."""

HLS_TYPES = {"application/vnd.apple.mpegurl", "application/x-mpegurl"}
FAILURES = (RefusedError, aiohttp.ClientError, BotoCoreError, ClientError, PlaylistError, TimeoutError, OSError)


class RenditionResult(BaseModel):
    """One derived file; `path` is where it was saved."""

    model_config = ConfigDict(frozen=True)

    name: str
    content_type: str
    width: int | None
    height: int | None
    bytes: int
    url: str
    path: str | None


class FileResult(BaseModel):
    """What became of one file. `seconds` counts from its sending until it was terminal."""

    model_config = ConfigDict(frozen=True)

    file: str
    asset_id: str | None = None
    asset_type: str | None = None
    status: str
    code: str | None = None
    detail: str | None = None
    width: int | None = None
    height: int | None = None
    duration_ms: int | None = None
    seconds: float = 0.0
    renditions: Sequence[RenditionResult] = ()

    @property
    def is_good(self) -> bool:
        """The service did its work: the file is ready, or was refused with a reason."""
        return self.status in {"ready", "rejected"}


@dataclass(frozen=True, slots=True)
class Order:
    """What the command line asked for."""

    files: Sequence[Path]
    out: Path | None = None
    asset_type: str | None = None
    as_recording: bool = False


Watch = Callable[[Path, str, int], None]
"""Told the file, its status and its progress in per cent, whenever they change."""


async def process(order: Order, stack: Running, jwt_secret: str, watch: Watch) -> list[FileResult]:
    """Send every file and wait until all are terminal; results in the files' order. A file's error is its result."""
    inbox = recording.Inbox(
        endpoint_url=stack.settings["AWS_ENDPOINT_URL"],
        bucket=stack.settings["MEDIA_RECORDING_BUCKETS"],
        queue_url=stack.settings["MEDIA_RECORDINGS_QUEUE_URL"],
    )
    slots = asyncio.Semaphore(FILES_AT_ONCE)
    async with aiohttp.ClientSession() as http:

        async def one(path: Path) -> FileResult:
            async with slots:
                return await _Journey(http, order, stack.api_url, inbox, jwt_secret, watch).make(path)

        return list(await asyncio.gather(*(one(path) for path in order.files)))


class _Journey:
    """The way of one file through the service."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        order: Order,
        api_url: str,
        inbox: recording.Inbox,
        jwt_secret: str,
        watch: Watch,
    ) -> None:
        self._http = http
        self._order = order
        self._api_url = api_url
        self._inbox = inbox
        self._jwt_secret = jwt_secret
        self._watch = watch
        self._asset: AssetInfo | None = None
        self._seconds = 0.0

    async def make(self, path: Path) -> FileResult:
        started = time.monotonic()
        try:
            api, asset_id = await self._send(path)
            self._asset = await self._until_terminal(api, asset_id, path)
            self._seconds = time.monotonic() - started
            renditions = await self._collect(api, self._asset) if self._asset.status == "ready" else []
        except FAILURES as error:
            self._seconds = self._seconds or time.monotonic() - started
            return self._failure(path, error)
        return self._result(path, renditions)

    async def _send(self, path: Path) -> tuple[ApiClient, str]:
        if self._order.as_recording:
            return await self._send_recording(path)
        api = self._client(USER)
        self._watch(path, "sending", 0)
        with SourceFile(path) as file:
            announced = announce(path, self._order.asset_type)
            ticket = await api.request_upload(printable(path.name), file.size, announced)
            await api.put(ticket, file)
        self._asset = await api.confirm(ticket.asset_id)
        return api, ticket.asset_id

    async def _send_recording(self, path: Path) -> tuple[ApiClient, str]:
        webinar = recording.invent()
        self._watch(path, "sending", 0)
        content_type = announce(path, self._order.asset_type).content_type
        await recording.hand_in(path, content_type, webinar, self._inbox)
        api = self._client(webinar.host_id)
        async with asyncio.timeout(SILENCE_LIMIT):
            return api, await _only_asset(api)

    def _client(self, user: str) -> ApiClient:
        return ApiClient(self._http, self._api_url, tokens.mint(self._jwt_secret, user=user, role="user"))

    async def _until_terminal(self, api: ApiClient, asset_id: str, path: Path) -> AssetInfo:
        seen: tuple[str, int] | None = None
        last_news = time.monotonic()
        while True:
            asset = self._asset = await api.asset(asset_id)
            if seen != (asset.status, asset.progress):
                seen, last_news = (asset.status, asset.progress), time.monotonic()
                self._watch(path, *seen)
            if asset.status in TERMINAL:
                return asset
            if time.monotonic() - last_news > SILENCE_LIMIT:
                raise TimeoutError(f"nothing changed for {SILENCE_LIMIT:.0f} s")
            await asyncio.sleep(POLL_PAUSE)

    async def _collect(self, api: ApiClient, asset: AssetInfo) -> list[RenditionResult]:
        results = []
        for rendition in asset.renditions:
            url = await api.url(asset.asset_id, rendition.name)
            saved = await self._save(asset.asset_id, rendition, url) if self._order.out else None
            results.append(RenditionResult(**rendition.model_dump(), url=url, path=saved and _text(saved)))
        return results

    async def _save(self, asset_id: str, rendition: RenditionInfo, url: str) -> Path:
        folder = (self._order.out or Path()) / asset_id
        folder.mkdir(parents=True, exist_ok=True)
        if rendition.content_type.lower() in HLS_TYPES:
            return await hls.save(self._http, url, folder / rendition.name)
        target = folder / (rendition.name + (mimetypes.guess_extension(rendition.content_type) or ""))
        await download(self._http, url, target)
        return target

    def _result(self, path: Path, renditions: Sequence[RenditionResult], **changes: str) -> FileResult:
        known = self._asset.model_dump(exclude={"progress", "renditions"}) if self._asset else {}
        return FileResult(
            **known | {"file": _text(path), "seconds": round(self._seconds, 3), "renditions": renditions} | changes
        )

    def _failure(self, path: Path, error: BaseException) -> FileResult:
        """The API refused the file: `rejected` with its code. Anything else is the service's or the wire's fault."""
        if isinstance(error, RefusedError):
            status = "rejected" if error.is_input and self._asset is None else "failed"
            return self._result(path, [], status=status, code=error.code, detail=error.detail)
        return self._result(path, [], status="failed", code=type(error).__name__, detail=printable(str(error)))


def _text(path: Path) -> str:
    """The path as JSON can hold it: bytes that are no UTF-8 become U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", str(path))


async def _only_asset(api: ApiClient) -> str:
    """The asset of a host who has one, once the service has registered it."""
    while not (found := await api.assets()):  # noqa: ASYNC110 - the event is in another process
        await asyncio.sleep(POLL_PAUSE)
    return found[0].asset_id
