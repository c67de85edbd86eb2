"""What the emulator's process runs: ministack, mended where it behaves differently and we depend on it.

A GET of one version ignores `Range` and the `response-*` overrides in ministack 1.5. S3 honours both, and ffprobe
cannot seek without the first. tests/integration/stack/test_topology.py tells when this has become unnecessary.

It saves its state at its end alone. Ours saves it every few seconds too, so that little is lost with a process that is
killed.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from ministack import app
from ministack.services import s3

from deploy.local.emulator import SAVED_MARK

Answer = tuple[int, dict[str, str], Any]
SAVE_INTERVAL = 5.0
"""Seconds between two savings of messages, rules and the names of buckets."""
LONGEST_SHARE = 0.02
"""Of the time, that saving may take: it holds up every request, and 5,000 messages take a third of a second."""

_serve_lifespan = app._handle_lifespan  # noqa: SLF001 - runs on the loop from the start to the last saving
_read = s3._get_object  # noqa: SLF001 - the one place where the answer is made


def _get_object(bucket: str, key: str, headers: Mapping[str, str], query: Mapping[str, Any] | None = None) -> Answer:
    """S3's GetObject: as ministack's, and for a version with Range and overrides as for the current one."""
    wanted = headers.get("range", "")
    if wanted:  # a checksum of the whole would not fit the part, so S3 sends none
        headers = {name: value for name, value in headers.items() if name != "x-amz-checksum-mode"}
    status, answer_headers, body = _read(bucket, key, headers, query)
    is_version = bool(s3._qp(query or {}, "versionId", ""))  # noqa: SLF001 - reads as _read reads
    if status != 200 or not is_version:  # noqa: PLR2004 - OK
        return status, answer_headers, body
    s3._apply_response_overrides(answer_headers, query)  # noqa: SLF001 - as for the current version
    if not wanted:
        return status, answer_headers, body
    span = s3._parse_range(wanted, len(body))  # noqa: SLF001 - as for the current version
    if span is None:
        return 416, {"Content-Range": f"bytes */{len(body)}"}, b""
    start, end = span
    part = body[start : end + 1]
    content = {"Content-Length": str(len(part)), "Content-Range": f"bytes {start}-{end}/{len(body)}"}
    return 206, {**answer_headers, **content}, part


async def _handle_lifespan(scope: Any, receive: Any, send: Callable[[Mapping[str, str]], Awaitable[None]]) -> None:
    """Ministack's own, which loads at its start and saves at its end, with our savings between the two."""
    savers: list[asyncio.Task[None]] = []

    async def send_and_begin(message: Mapping[str, str]) -> None:
        if message["type"] == "lifespan.startup.complete":
            savers.append(asyncio.create_task(_save_regularly()))
        await send(message)

    await _serve_lifespan(scope, receive, send_and_begin)
    for saver in savers:
        saver.cancel()
    _note_saved()


async def _save_regularly() -> None:
    pause = SAVE_INTERVAL
    while True:
        await asyncio.sleep(pause)
        begun = time.monotonic()
        app.save_all(app._build_persistence_save_dict())  # noqa: SLF001 - as at its end
        _note_saved()
        pause = max(SAVE_INTERVAL, (time.monotonic() - begun) / LONGEST_SHARE)


def _note_saved() -> None:
    Path(SAVED_MARK).touch()


if __name__ == "__main__":
    app._handle_lifespan = _handle_lifespan  # noqa: SLF001 - looked up by this name when it starts
    s3._get_object = _get_object  # noqa: SLF001 - looked up by this name for each request
    app.main()
