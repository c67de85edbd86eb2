"""Where the checked HLS lies: a folder, or anywhere on the web."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urljoin, urlsplit

import aiohttp

MAX_BYTES = 256 * 1024 * 1024
"""Of one playlist or segment; a 6 s segment at 8.5 Mbit/s has 6 MB."""
TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=10, sock_read=20)


class SourceError(Exception):
    """Something that a playlist names cannot be read."""


class Source(Protocol):
    """`resolve` finds what a playlist names, `read` gets its bytes, `look` some of them and how many there are.

    Both raise SourceError.
    """

    def resolve(self, base: str, reference: str) -> str: ...

    async def read(self, address: str) -> bytes: ...

    async def look(self, address: str, *, offset: int, length: int) -> tuple[bytes, int]: ...


class FolderSource:
    """Reads below one folder, and nothing outside it."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def resolve(self, base: str, reference: str) -> str:
        return str((Path(base).parent / unquote(urlsplit(reference).path)).resolve())

    async def read(self, address: str) -> bytes:
        return await asyncio.to_thread(_read_file, self._inside(address))

    async def look(self, address: str, *, offset: int, length: int) -> tuple[bytes, int]:
        return await asyncio.to_thread(_look_into, self._inside(address), offset, length)

    def _inside(self, address: str) -> Path:
        path = Path(address)
        if not path.is_relative_to(self._root):
            raise SourceError("it lies outside of the folder")
        return path


class WebSource:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    def resolve(self, base: str, reference: str) -> str:
        return urljoin(base, reference)

    async def read(self, address: str) -> bytes:
        async with self._get(address, {}) as response:
            return await _bounded(response.content)

    async def look(self, address: str, *, offset: int, length: int) -> tuple[bytes, int]:
        """Asks for a range; a server that knows none sends everything."""
        async with self._get(address, {"Range": f"bytes={offset}-{offset + length - 1}"}) as response:
            data = await _bounded(response.content)
            if response.status != 206:  # noqa: PLR2004 - HTTP: a part
                return data[offset : offset + length], len(data)
            total = response.headers.get("Content-Range", "").rpartition("/")[2]
        if not total.isdigit():
            raise SourceError("the server does not say how long it is")
        return data, int(total)

    @asynccontextmanager
    async def _get(self, address: str, headers: dict[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        if urlsplit(address).scheme not in {"http", "https"}:
            raise SourceError("it is not an http(s) address")
        try:
            async with self._session.get(address, headers=headers) as response:
                response.raise_for_status()
                yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            status = getattr(error, "status", None)
            raise SourceError(f"HTTP {status}" if status else type(error).__name__) from error


def _read_file(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SourceError(f"it is larger than {MAX_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise SourceError(error.strerror or "it cannot be read") from error


def _look_into(path: Path, offset: int, length: int) -> tuple[bytes, int]:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length), path.stat().st_size
    except OSError as error:
        raise SourceError(error.strerror or "it cannot be read") from error


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in content.iter_chunked(256 * 1024):
        size += len(part)
        if size > MAX_BYTES:
            raise SourceError(f"it is larger than {MAX_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


@asynccontextmanager
async def open_source(target: str) -> AsyncIterator[tuple[Source, str]]:
    """The source of `target` and its master playlist's address. Raises SourceError when a folder has no single one."""
    if target.startswith(("http://", "https://")):
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
            yield WebSource(session), target
        return
    master = await asyncio.to_thread(_find_master, Path(target))
    yield FolderSource(master.parent), str(master)


def _find_master(target: Path) -> Path:
    """The file itself, or the only playlist below a folder that lists others."""
    folder = target.resolve()
    if not folder.is_dir():
        return folder
    masters = [path for path in sorted(folder.rglob("*.m3u8")) if b"#EXT-X-STREAM-INF" in path.read_bytes()]
    if len(masters) != 1:
        raise SourceError(f"{len(masters)} master playlists in {folder}, wanted is one")
    return masters[0]
