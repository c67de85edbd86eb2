"""Send files through a running stack as a client would, and return the results."""

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
from deploy.local.api_client import ApiClient, AssetInfo, NoteInfo, RefusedError, RenditionInfo, download
from deploy.local.hls import PlaylistError
from deploy.local.source_file import SourceFile
from deploy.local.state import Running
from media.asset import TERMINAL

USER = "local"
FILES_AT_ONCE = 16
POLL_PAUSE = 0.25
SILENCE_LIMIT = 900.0
"""Seconds without a change of an asset, after which waiting for it ends."""

HLS_TYPES = {"application/vnd.apple.mpegurl", "application/x-mpegurl"}
FILE_ERRORS = (RefusedError, aiohttp.ClientError, BotoCoreError, ClientError, PlaylistError, TimeoutError, OSError)


class RenditionResult(BaseModel):
    """One derived file; `path` is the place where it was saved."""

    model_config = ConfigDict(frozen=True)

    name: str
    content_type: str
    width: int | None
    height: int | None
    bytes: int
    url: str
    path: str | None


class FileResult(BaseModel):
    """The result for one file. `seconds` is the time from sending it until its status was terminal."""

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
    notes: Sequence[NoteInfo] = ()
    seconds: float = 0.0
    renditions: Sequence[RenditionResult] = ()

    @property
    def is_good(self) -> bool:
        """Whether the service did its work: the file is ready, or was rejected with a reason."""
        return self.status in {"ready", "rejected"}


@dataclass(frozen=True, slots=True)
class ProcessRequest:
    """The files to process, and the options of the command line."""

    files: Sequence[Path]
    out: Path | None = None
    asset_type: str | None = None
    as_recording: bool = False


OnProgress = Callable[[Path, str, int], None]
"""Called with a file, its status and its progress in per cent, whenever they change."""


async def process(
    request: ProcessRequest, stack: Running, jwt_secret: str, on_progress: OnProgress
) -> list[FileResult]:
    """Send every file and wait until all are terminal; return results in the order of the files.

    An error with a file is its result, and does not stop the others.
    """
    target = recording.RecordingTarget(
        endpoint_url=stack.settings["AWS_ENDPOINT_URL"],
        bucket=stack.settings["MEDIA_RECORDING_BUCKETS"],
        queue_url=stack.settings["MEDIA_RECORDINGS_QUEUE_URL"],
    )
    slots = asyncio.Semaphore(FILES_AT_ONCE)
    async with aiohttp.ClientSession() as http:

        async def one(path: Path) -> FileResult:
            async with slots:
                return await _FileRun(http, request, stack.api_url, target, jwt_secret, on_progress).run(path)

        return list(await asyncio.gather(*(one(path) for path in request.files)))


class _FileRun:
    """One file on its way through the service."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        request: ProcessRequest,
        api_url: str,
        target: recording.RecordingTarget,
        jwt_secret: str,
        on_progress: OnProgress,
    ) -> None:
        self._http = http
        self._request = request
        self._api_url = api_url
        self._target = target
        self._jwt_secret = jwt_secret
        self._on_progress = on_progress
        self._asset: AssetInfo | None = None
        self._seconds = 0.0

    async def run(self, path: Path) -> FileResult:
        started = time.monotonic()
        try:
            api, asset_id = await self._send(path)
            self._asset = await self._until_terminal(api, asset_id, path)
            self._seconds = time.monotonic() - started
            renditions = await self._collect_renditions(api, self._asset) if self._asset.status == "ready" else []
        except FILE_ERRORS as error:
            self._seconds = self._seconds or time.monotonic() - started
            return self._failure(path, error)
        return self._result(path, renditions)

    async def _send(self, path: Path) -> tuple[ApiClient, str]:
        if self._request.as_recording:
            return await self._send_as_recording(path)
        api = self._client(USER)
        self._on_progress(path, "sending", 0)
        with SourceFile(path) as file:
            announced = announce(path, self._request.asset_type)
            ticket = await api.request_upload(printable(path.name), file.size, announced)
            await api.put(ticket, file)
        self._asset = await api.confirm(ticket.asset_id)
        return api, ticket.asset_id

    async def _send_as_recording(self, path: Path) -> tuple[ApiClient, str]:
        webinar = recording.new_webinar()
        self._on_progress(path, "sending", 0)
        content_type = announce(path, self._request.asset_type).content_type
        await recording.send_recording(path, content_type, webinar, self._target)
        api = self._client(webinar.host_id)
        async with asyncio.timeout(SILENCE_LIMIT):
            while not (found := await api.assets()):  # noqa: ASYNC110 - the event is in another process
                await asyncio.sleep(POLL_PAUSE)
        return api, found[0].asset_id  # this host has no other asset

    def _client(self, user: str) -> ApiClient:
        return ApiClient(self._http, self._api_url, tokens.mint(self._jwt_secret, user=user, role="user"))

    async def _until_terminal(self, api: ApiClient, asset_id: str, path: Path) -> AssetInfo:
        seen: tuple[str, int] | None = None
        last_change = time.monotonic()
        while True:
            asset = self._asset = await api.asset(asset_id)
            if seen != (asset.status, asset.progress):
                seen, last_change = (asset.status, asset.progress), time.monotonic()
                self._on_progress(path, *seen)
            if asset.status in TERMINAL:
                return asset
            if time.monotonic() - last_change > SILENCE_LIMIT:
                raise TimeoutError(f"nothing changed for {SILENCE_LIMIT:.0f} s")
            await asyncio.sleep(POLL_PAUSE)

    async def _collect_renditions(self, api: ApiClient, asset: AssetInfo) -> list[RenditionResult]:
        results = []
        for rendition in asset.renditions:
            url = await api.url(asset.asset_id, rendition.name)
            saved = await self._save(asset.asset_id, rendition, url) if self._request.out else None
            results.append(RenditionResult(**rendition.model_dump(), url=url, path=saved and _text(saved)))
        return results

    async def _save(self, asset_id: str, rendition: RenditionInfo, url: str) -> Path:
        folder = (self._request.out or Path()) / asset_id
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
        """Return `rejected` when the API refused the file, else `failed`: the service or the network is at fault."""
        if isinstance(error, RefusedError):
            status = "rejected" if error.is_input and self._asset is None else "failed"
            return self._result(path, [], status=status, code=error.code, detail=error.detail)
        return self._result(path, [], status="failed", code=type(error).__name__, detail=printable(str(error)))


def _text(path: Path) -> str:
    """Return a path that JSON can hold: bytes that are not UTF-8 become U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", str(path))
