"""Saves an HLS presentation so that it plays from a folder: playlists rewritten, each segment once."""

import asyncio
import re
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urljoin, urlsplit

import aiohttp

from deploy.local.api_client import CALL_DEADLINE, CHUNK, download

PLAYLIST_LIMIT = 16 << 20
"""Bytes. A day in segments of two seconds, with signed URLs, is below."""

FILE_LIMIT = 100_000
SEGMENTS_AT_ONCE = 4
URI_ATTRIBUTE = re.compile(r'URI="([^"]+)"')


class PlaylistError(Exception):
    """What was served is not a playlist, or one without bounds."""


async def save(http: aiohttp.ClientSession, url: str, folder: Path) -> Path:
    """Save the playlist at `url`, and all that it leads to, flat in `folder`; returns the playlist's path.

    Raises PlaylistError, aiohttp.ClientError, TimeoutError and OSError.
    """
    presentation = _Presentation(http, folder)
    master = await presentation.save_playlist(url)
    await presentation.save_segments()
    return master


class _Presentation:
    def __init__(self, http: aiohttp.ClientSession, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._http = http
        self._folder = folder
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()
        self._segments: dict[str, str] = {}

    async def save_playlist(self, url: str) -> Path:
        text = await self._text(url)
        target = self._folder / self._local_name(url)
        lines = [await self._localise(url, line.strip()) for line in text.splitlines()]
        target.write_text("\n".join(lines) + "\n")
        return target

    async def _text(self, url: str) -> str:
        body = bytearray()
        async with self._http.get(url, timeout=CALL_DEADLINE, raise_for_status=True) as answer:
            async for chunk in answer.content.iter_chunked(CHUNK):
                body += chunk
                if len(body) > PLAYLIST_LIMIT:
                    raise PlaylistError(f"longer than {PLAYLIST_LIMIT} bytes: {urlsplit(url).path}")
        if not body.startswith(b"#EXTM3U"):
            raise PlaylistError(f"not a playlist: {urlsplit(url).path}")
        return body.decode()

    async def save_segments(self) -> None:
        slots = asyncio.Semaphore(SEGMENTS_AT_ONCE)

        async def save_one(name: str, url: str) -> None:
            async with slots:
                await download(self._http, url, self._folder / name)

        await asyncio.gather(*(save_one(name, url) for name, url in self._segments.items()))

    async def _localise(self, base: str, line: str) -> str:
        """The line, with whatever it names saved (or noted to be saved) and named as it is in the folder."""
        if line and not line.startswith("#"):
            return await self._take(urljoin(base, line))
        if match := URI_ATTRIBUTE.search(line):
            name = await self._take(urljoin(base, match[1]))
            return line[: match.start(1)] + name + line[match.end(1) :]
        return line

    async def _take(self, url: str) -> str:
        known = self._identity(url) in self._names
        name = self._local_name(url)
        if name.endswith(".m3u8"):
            if not known:
                await self.save_playlist(url)
        else:
            self._segments.setdefault(name, url)
        return name

    def _local_name(self, url: str) -> str:
        """The last part of the URL's path; numbered when another folder has a file of that name."""
        identity = self._identity(url)
        if identity not in self._names:
            if len(self._names) >= FILE_LIMIT:
                raise PlaylistError(f"more than {FILE_LIMIT} files")
            name = _safe(PurePosixPath(unquote(urlsplit(url).path)).name)
            name = f"{len(self._names)}-{name}" if name in self._taken else name
            self._taken.add(name)
            self._names[identity] = name
        return self._names[identity]

    @staticmethod
    def _identity(url: str) -> str:
        """The same file, whatever its signature."""
        parts = urlsplit(url)
        return f"{parts.netloc}{parts.path}"


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip(".") or "file"
