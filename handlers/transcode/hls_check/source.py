"""The place of the checked HLS: a folder, or an address on the web."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urljoin, urlsplit

import aiohttp

PLAYLIST_BYTES = 16 * 1024 * 1024
"""Bytes of one playlist: the I-frame playlist of 8 h names 14,400 pictures, in some 1.5 MB."""
MAX_BYTES = 64 * 1024 * 1024
"""Bytes that are counted, not kept, of a file whose server does not say its length; a 6 s segment has 6 MB."""
PIECE = 256 * 1024
"""Bytes of one read."""
PLAIN = {"Accept-Encoding": "identity"}
"""Request headers without which lengths and ranges would count compressed bytes."""
LOCAL = ("localhost", "127.0.0.1", "::1")
"""Hosts that are reached without a proxy."""
TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=10, sock_read=20)


class SourceError(Exception):
    """Something that a playlist names cannot be read."""


class Source(Protocol):
    """Access to the files of one HLS. Its methods raise SourceError."""

    def resolve(self, base: str, reference: str) -> str:
        """Return the address that the playlist at `base` means by `reference`."""

    async def read(self, address: str) -> bytes:
        """Return all bytes of a playlist."""

    async def read_range(self, address: str, *, offset: int, length: int) -> tuple[bytes, int]:
        """Return at most `length` bytes from `offset` on, 0 for none of them, and the size of the file."""


class FolderSource:
    """Files below one folder; an address outside it raises SourceError."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def resolve(self, base: str, reference: str) -> str:
        return str((Path(base).parent / unquote(urlsplit(reference).path)).resolve())

    async def read(self, address: str) -> bytes:
        return await asyncio.to_thread(_read_file, self._inside(address))

    async def read_range(self, address: str, *, offset: int, length: int) -> tuple[bytes, int]:
        return await asyncio.to_thread(_look_into, self._inside(address), offset, length)

    def _inside(self, address: str) -> Path:
        path = Path(address)
        if not path.is_relative_to(self._root):
            raise SourceError("it lies outside of the folder")
        return path


class WebSource:
    """Files behind http(s) addresses."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    def resolve(self, base: str, reference: str) -> str:
        return urljoin(base, reference)

    async def read(self, address: str) -> bytes:
        async with self._get(address, {}) as response:
            data = await _some(response.content, PLAYLIST_BYTES + 1)
        if len(data) > PLAYLIST_BYTES:
            raise SourceError(f"it is larger than {PLAYLIST_BYTES} bytes")
        return data

    async def read_range(self, address: str, *, offset: int, length: int) -> tuple[bytes, int]:
        """Ask for a range. From a server without ranges read no more than that either, then close the connection."""
        last = offset + max(length, 1) - 1
        async with self._get(address, {"Range": f"bytes={offset}-{last}"}) as response:
            if response.status != 206:  # partial content
                return await _part_of_all(response, offset, length)
            found = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})", response.headers.get("Content-Range", ""))
            if not found:
                raise SourceError("the server does not say how long it is")
            begin, total = int(found[1]), int(found[2])
            if begin != offset:
                raise SourceError("the server sends another range than it was asked for")
            return await _some(response.content, min(length, total - offset)), total

    @asynccontextmanager
    async def _get(self, address: str, headers: dict[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        if urlsplit(address).scheme not in {"http", "https"}:
            raise SourceError("it is not an http(s) address")
        try:
            async with self._session.get(address, headers=headers | PLAIN) as response:
                response.raise_for_status()
                yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            status = getattr(error, "status", None)
            raise SourceError(f"HTTP {status}" if status else type(error).__name__) from error


def _read_file(path: Path) -> bytes:
    try:
        if path.stat().st_size > PLAYLIST_BYTES:
            raise SourceError(f"it is larger than {PLAYLIST_BYTES} bytes")
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


async def _some(content: aiohttp.StreamReader, length: int) -> bytes:
    """Read the next `length` bytes; fewer only at the end."""
    data = bytearray()
    while len(data) < length and (piece := await content.read(min(PIECE, length - len(data)))):
        data += piece
    return bytes(data)


async def _part_of_all(response: aiohttp.ClientResponse, offset: int, length: int) -> tuple[bytes, int]:
    """Take a part out of the whole file. Read to its end only where no header says how long it is."""
    skipped = await _skip(response.content, offset)
    data = await _some(response.content, length)
    if response.content_length is not None:
        return data, response.content_length
    return data, skipped + len(data) + await _skip(response.content, MAX_BYTES)


async def _skip(content: aiohttp.StreamReader, most: int) -> int:
    """Read up to `most` bytes and return how many. Raises SourceError past MAX_BYTES."""
    skipped = 0
    while piece := await content.read(min(PIECE, most - skipped)):
        skipped += len(piece)
        if skipped >= MAX_BYTES:
            raise SourceError(f"it is larger than {MAX_BYTES} bytes")
    return skipped


@asynccontextmanager
async def open_source(target: str) -> AsyncIterator[tuple[Source, str]]:
    """Open the source of `target`; also give its master playlist's address.

    Raises SourceError for a folder with no or several masters.
    """
    if target.startswith(("http://", "https://")):
        async with aiohttp.ClientSession(timeout=TIMEOUT, trust_env=urlsplit(target).hostname not in LOCAL) as session:
            yield WebSource(session), target
        return
    master = await asyncio.to_thread(_find_master, Path(target))
    yield FolderSource(master.parent), str(master)


def _find_master(target: Path) -> Path:
    """Return the file itself, or the only master playlist below a folder. Raises SourceError."""
    folder = target.resolve()
    if not folder.is_dir():
        return folder
    masters = [path for path in sorted(folder.rglob("*.m3u8")) if b"#EXT-X-STREAM-INF" in path.read_bytes()]
    if len(masters) != 1:
        raise SourceError(f"{len(masters)} master playlists in {folder}, wanted is one")
    return masters[0]
