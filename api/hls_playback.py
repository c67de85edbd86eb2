"""HLS through the API: tokens for one asset until an end, and playlists whose entries carry their own permission."""

import asyncio
import base64
import hmac
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from io import StringIO
from posixpath import dirname
from uuid import UUID

PLAYLIST_LIMIT = 2 * 1024 * 1024
"""Bytes. Eight hours in segments of six seconds, with their durations, are some 300 KB."""
ENTRY_LIMIT = 40_000
"""Entries of one playlist. Eight hours with an I-frame every two seconds have 14,400."""
SLICE = 0.003
"""Seconds for which the rewriting may block the event loop."""
LINES_PER_CHECK = 32
"""Lines between two looks at the clock."""
FOREVER = datetime(9999, 12, 31, tzinfo=UTC)
"""The end of the tokens of public assets, which are good for as long as the asset is public."""
_URI = re.compile(r'(?<=[:,])URI="([^"]*)"')
_ENTRY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
"""A relative path without `..`, scheme, query or escapes. Our transcoder writes nothing else."""


class UnusablePlaylistError(Exception):
    """The playlist is not one of ours, or has an entry that it may not have."""


class PlaybackTokens:
    """Make and check the `token` of playlist URLs. The first of the secrets signs, all are accepted."""

    def __init__(self, *secrets: str) -> None:
        # Keys of their own: a token for one purpose must not be valid for another.
        self._keys = [hmac.digest(secret.encode(), b"docfliq media playback 1", "sha256") for secret in secrets]

    def make(self, asset_id: UUID, end: datetime) -> str:
        """Make a token for one asset until `end`, in whole seconds."""
        expires = int(end.timestamp())
        return f"{expires}.{_signature(self._keys[0], asset_id, expires)}"

    def check(self, token: str, asset_id: UUID) -> datetime | None:
        """Return when the token ends (perhaps in the past), or None when it is not ours or not for this asset."""
        text, _, signature = token.partition(".")
        if not re.fullmatch(r"[0-9]{1,12}", text) or not signature.isascii():
            return None
        if not any(hmac.compare_digest(signature, _signature(key, asset_id, int(text))) for key in self._keys):
            return None
        return datetime.fromtimestamp(int(text), UTC)


def _signature(key: bytes, asset_id: UUID, expires: int) -> str:
    digest = hmac.digest(key, f"{asset_id}.{expires}".encode(), "sha256")
    return base64.urlsafe_b64encode(digest[:18]).decode()


def playlist_key(master: str, path: str) -> str:
    """Return the key of the playlist at `path` of the API's URL. `master.m3u8` is the master, whatever its own name.

    Raises UnusablePlaylistError for a path that cannot be a playlist below the master's folder.
    """
    if path == "master.m3u8":
        return master
    if not path.endswith(".m3u8"):
        raise UnusablePlaylistError("not a playlist")
    return f"{dirname(master)}/{_checked(path)}"


async def rewrite(
    text: str, folder: str, token: str, sign: Callable[[str], str], clock: Callable[[], float] = time.perf_counter
) -> str:
    """Make every entry of a playlist in `folder` reachable: playlists by `token`, files by `sign(key)`.

    It yields to the event loop every few milliseconds of `clock`. Raises UnusablePlaylistError.
    """
    if not text.startswith("#EXTM3U"):
        raise UnusablePlaylistError("does not begin with #EXTM3U")
    count = 0

    def reach(entry: str) -> str:
        nonlocal count
        count += 1
        if count > ENTRY_LIMIT:
            raise UnusablePlaylistError(f"has more than {ENTRY_LIMIT} entries")
        checked = _checked(entry)
        return f"{checked}?token={token}" if checked.endswith(".m3u8") else sign(f"{folder}/{checked}")

    lines: list[str] = []
    begun = clock()
    # One line at a time: to split two megabytes at once would block the loop.
    for number, line in enumerate(StringIO(text)):
        lines.append(with_addresses(line.strip(), reach))
        if number % LINES_PER_CHECK == 0 and clock() - begun > SLICE:
            await asyncio.sleep(0)
            begun = clock()
    return "\n".join(lines) + "\n"


def with_addresses(line: str, reach: Callable[[str], str]) -> str:
    """Replace every address in a line of a playlist by the result of `reach`."""
    if line.startswith("#EXT"):
        return _URI.sub(lambda found: f'URI="{reach(found[1])}"', line)
    return reach(line) if line and not line.startswith("#") else line


def _checked(entry: str) -> str:
    if not _ENTRY.fullmatch(entry):
        raise UnusablePlaylistError(f"entry {entry[:80]!r} is not a plain relative path")
    return entry
