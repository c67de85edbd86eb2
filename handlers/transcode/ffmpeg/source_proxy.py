"""Serves byte ranges of one object version to one ffmpeg over the loopback, and nothing else.

ffmpeg therefore needs neither credentials nor an address beyond this machine, and reads the scanned version whatever
is uploaded meanwhile. A pipe would not do, since ffmpeg seeks: an MP4's index may be at its end.
"""

import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from aiohttp import web

from media.asset import ObjectVersion
from media.aws.s3 import ChangedObjectError, MissingObjectError
from media.aws.s3_transfer import ObjectTransfer
from media.errors import Code, RejectedError, RetryableError, UnavailableError

log = structlog.get_logger(__name__)

BLOCK = 8 * 1024 * 1024
"""Bytes of one request to S3. A slow reader keeps a connection waiting no longer than one block takes."""
TRIES = 3
"""Requests for one block. A repeated request continues after the bytes that were sent."""
_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{0,15})")


@dataclass(frozen=True, slots=True)
class ServedObject:
    """The object version that is served. `size` is bytes, `etag` the version's."""

    version: ObjectVersion
    size: int
    etag: str


class SourceProxy:
    """Serves ranges of one object. `failure` is the first error of the storage, if any."""

    def __init__(self, transfer: ObjectTransfer, served: ServedObject) -> None:
        self._transfer = transfer
        self._served = served
        self._path = f"/{secrets.token_urlsafe(32)}"
        self.failure: Exception | None = None
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["SourceProxy"]:
        """Listen on a free loopback port until left. `url` is the address."""
        app = web.Application()
        app.router.add_get(self._path, self._serve_range)
        # Neither an access log nor an error page may reveal the address.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}{self._path}"
            yield self
        finally:
            await runner.cleanup()

    async def _serve_range(self, request: web.Request) -> web.StreamResponse:
        size = self._served.size
        requested = _RANGE.fullmatch(request.headers.get("Range", "bytes=0-"))
        first = int(requested[1]) if requested else size
        last = min(int(requested[2] or size), size - 1) if requested else 0
        if first > last:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"})
        response = web.StreamResponse(status=206 if "Range" in request.headers else 200)
        response.headers["Accept-Ranges"] = "bytes"
        response.headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        response.content_length = last - first + 1
        response.content_type = "application/octet-stream"
        await response.prepare(request)
        if request.method == "GET":
            await self._send(request, response, first, last)
        return response

    async def _send(self, request: web.Request, response: web.StreamResponse, first: int, last: int) -> None:
        try:
            for at in range(first, last + 1, BLOCK):
                await self._send_block(response, at, min(at + BLOCK - 1, last))
        except ConnectionError:
            return  # ffmpeg has read enough: it seeks elsewhere, or has ended.
        except (RejectedError, RetryableError, UnavailableError) as error:
            self.failure = self.failure or error
            log.warning("transcode.source_failed", error=str(error))
            if request.transport:
                request.transport.abort()

    async def _send_block(self, response: web.StreamResponse, first: int, last: int) -> None:
        at, served = first, self._served
        for attempt in range(1, TRIES + 1):
            try:
                async with self._transfer.read_range(served.version, at, last, etag=served.etag) as pieces:
                    async for piece in pieces:
                        await response.write(piece)
                        at += len(piece)
            except MissingObjectError as error:
                raise RejectedError(Code.SOURCE_MISSING, "the object is not in the bucket any more") from error
            except ChangedObjectError as error:
                raise RejectedError(Code.SOURCE_CHANGED, "the object is not the one that was scanned") from error
            except UnavailableError:
                if attempt == TRIES:
                    raise
            if at > last:
                return
        raise RetryableError(Code.STORAGE_ERROR, "the storage gave less than it has")
