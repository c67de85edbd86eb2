"""Save an HLS presentation so that it plays from a folder: playlists are rewritten, each segment is stored once."""

import asyncio
import re
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urljoin, urlsplit

import aiohttp

from api.hls_playback import with_addresses
from deploy.local.api_client import CALL_DEADLINE, CHUNK, download

PLAYLIST_LIMIT = 16 << 20
"""Maximum bytes of a playlist. A day in segments of two seconds, with signed URLs, needs less."""

FILE_LIMIT = 100_000
"""Maximum number of files of a presentation."""
SEGMENTS_AT_ONCE = 4


class PlaylistError(Exception):
    """The response is not a playlist, or the presentation is too large."""


async def save(http: aiohttp.ClientSession, url: str, folder: Path) -> Path:
    """Save the playlist at `url`, and everything that it refers to, in one `folder`; return the playlist's path.

    Raises PlaylistError, aiohttp.ClientError, TimeoutError and OSError.
    """
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    presentation = _Presentation()
    presentation.playlists.append(url)
    for playlist in presentation.playlists:  # grows while its own playlists are read
        lines = (await _read(http, playlist)).splitlines()
        text = "\n".join(with_addresses(line.strip(), partial(presentation.take, playlist)) for line in lines)
        (folder / presentation.name_of(playlist)).write_text(f"{text}\n")
    slots = asyncio.Semaphore(SEGMENTS_AT_ONCE)

    async def save_one(name: str, url: str) -> None:
        async with slots:
            await download(http, url, folder / name)

    await asyncio.gather(*(save_one(name, url) for name, url in presentation.segments.items()))
    return folder / presentation.name_of(url)


async def _read(http: aiohttp.ClientSession, url: str) -> str:
    body = bytearray()
    async with http.get(url, timeout=CALL_DEADLINE, raise_for_status=True) as answer:
        async for chunk in answer.content.iter_chunked(CHUNK):
            body += chunk
            if len(body) > PLAYLIST_LIMIT:
                raise PlaylistError(f"longer than {PLAYLIST_LIMIT} bytes: {urlsplit(url).path}")
    if not body.startswith(b"#EXTM3U"):
        raise PlaylistError(f"not a playlist: {urlsplit(url).path}")
    return body.decode()


class _Presentation:
    """The local file names, and the files to fetch: playlists by URL, segments by name."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()
        self.playlists: list[str] = []
        self.segments: dict[str, str] = {}

    def take(self, base: str, address: str) -> str:
        """Register an address from the playlist at `base` for saving, and return its local name."""
        url = urljoin(base, address)
        count = len(self._names)
        name = self.name_of(url)
        if not name.endswith(".m3u8"):
            self.segments.setdefault(name, url)
        elif len(self._names) > count:
            self.playlists.append(url)
        return name

    def name_of(self, url: str) -> str:
        """Return the last part of the URL's path, with a number if another folder has a file of that name."""
        parts = urlsplit(url)
        identity = f"{parts.netloc}{parts.path}"  # the same file, whatever its signature
        if identity not in self._names:
            if len(self._names) >= FILE_LIMIT:
                raise PlaylistError(f"more than {FILE_LIMIT} files")
            last = PurePosixPath(unquote(parts.path)).name
            name = re.sub(r"[^A-Za-z0-9._-]+", "-", last).lstrip(".") or "file"
            name = f"{len(self._names)}-{name}" if name in self._taken else name
            self._taken.add(name)
            self._names[identity] = name
        return self._names[identity]
