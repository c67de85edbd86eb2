"""A web server with ClamAV databases that answers, refuses, dawdles, or sends what is no database."""

import asyncio
import hashlib
import io
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum

from aiohttp import web


class Trouble(StrEnum):
    NONE = "none"
    RATE_LIMITED = "rate_limited"  # 429
    SLOW = "slow"  # a byte, then nothing
    GARBAGE = "garbage"  # a page of a proxy
    EMPTY = "empty"  # 200 without a body
    FORGED = "forged"  # a database that ClamAV's project did not sign


class SignatureMirror:
    """Serves what is in `contents` by name, and official databases only in trouble: nobody else can sign them.

    `asked` lists the requests; `stalled` is set once one of them waits.
    """

    def __init__(self) -> None:
        self.trouble = Trouble.NONE
        self.contents: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.stalled = asyncio.Event()
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        content = self.contents.get(request.match_info["name"])
        match self.trouble:
            case Trouble.RATE_LIMITED:
                return web.Response(status=429)
            case Trouble.SLOW:
                response = web.StreamResponse(headers={"Content-Length": "512"})
                await response.prepare(request)
                await response.write(b"C")
                self.stalled.set()
                await asyncio.Event().wait()
            case Trouble.GARBAGE:
                content = b"<html>a proxy asks you to log in</html>" * 100
            case Trouble.EMPTY:
                content = b""
            case Trouble.FORGED:
                content = unsigned_cvd(27_000)
            case _:
                # Its files are older than any download of them, as after a copy that keeps their times.
                if "If-Modified-Since" in request.headers:
                    return web.Response(status=304)
        if content is None:
            return web.Response(status=404)
        part = request.http_range
        if part.start is None:
            return web.Response(body=content)
        return web.Response(status=206, body=content[part])


def payload(version: int) -> bytes:
    """Return the content that `database(version)` finds."""
    return f"found by version {version}".encode()


def database(version: int) -> bytes:
    """Return a small .hdb, which has no digital signature."""
    found = payload(version)
    return f"{hashlib.md5(found, usedforsecurity=False).hexdigest()}:{len(found)}:Test-{version}\n".encode()


def unsigned_cvd(version: int) -> bytes:
    """Return a whole .cvd, but for its digital signature, which fits nothing."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in (("COPYING", b"Test data.\n"), ("test.hdb", database(version))):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    body = packed.getvalue()
    digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
    fields = ["ClamAV-VDB", "01 Jun 2021 00-00 +0000", version, 1, 90, digest, "k4Lq" * 86, "nobody", 1_622_505_600]
    return ":".join(map(str, fields)).encode().ljust(512) + body


@asynccontextmanager
async def signature_mirror() -> AsyncIterator[SignatureMirror]:
    mirror = SignatureMirror()
    application = web.Application()
    application.router.add_get("/{name}", mirror.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        mirror.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield mirror
    finally:
        await runner.cleanup()
