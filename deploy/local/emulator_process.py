"""The emulator's process: ministack, patched where it differs from AWS and we depend on the difference.

In ministack 1.5 a GET of one version ignores `Range` and the `response-*` overrides. S3 honors both, and ffprobe cannot
seek without the first. tests/integration/stack/test_topology.py covers this.

Its CloudFormation knows no archive of a bus, which its EventBridge has.

ministack saves its state only when it ends. This process also saves it every few seconds, so that little is lost when
it is killed.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from ministack import app
from ministack.services import eventbridge, s3
from ministack.services.cloudformation import provisioners

from deploy.local.emulator import SAVED_MARK

Answer = tuple[int, dict[str, str], Any]
SAVE_INTERVAL = 5.0
"""Seconds between two saves of messages, rules and the names of buckets."""
MAX_SAVE_SHARE = 0.02
"""Share of the time for saving, which blocks every request: 5,000 messages take a third of a second."""

_serve_lifespan = app._handle_lifespan  # noqa: SLF001 - runs on the loop from the start to the last save
_read = s3._get_object  # noqa: SLF001 - the one place that makes the response


def _get_object(bucket: str, key: str, headers: Mapping[str, str], query: Mapping[str, Any] | None = None) -> Answer:
    """Answer GetObject as ministack does, with Range and overrides also for a version."""
    wanted = headers.get("range", "")
    if wanted:  # S3 sends no checksum of the whole object with a range
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


def create_archive(_: str, properties: Mapping[str, Any], __: str) -> tuple[str, dict[str, str]]:
    """Make the archive of a template by the API's own call. One that is there is updated. Raises ValueError."""
    pattern = json.dumps(properties["EventPattern"])
    wanted = {**properties, "EventSourceArn": properties["SourceArn"], "EventPattern": pattern}
    is_there = properties["ArchiveName"] in eventbridge._archives  # noqa: SLF001 - its one table of them
    write = eventbridge._update_archive if is_there else eventbridge._create_archive  # noqa: SLF001 - as the API calls it
    status, _headers, body = write(wanted)
    if status != 200:  # noqa: PLR2004 - OK
        raise ValueError(f"the archive could not be made: {body!r}")
    return properties["ArchiveName"], {"Arn": json.loads(body)["ArchiveArn"]}


async def _handle_lifespan(scope: Any, receive: Any, send: Callable[[Mapping[str, str]], Awaitable[None]]) -> None:
    """Run ministack's own lifespan, which loads at its start and saves at its end, and save regularly between."""
    savers: list[asyncio.Task[None]] = []

    async def send_and_start_saver(message: Mapping[str, str]) -> None:
        if message["type"] == "lifespan.startup.complete":
            savers.append(asyncio.create_task(_save_regularly()))
        await send(message)

    await _serve_lifespan(scope, receive, send_and_start_saver)
    for saver in savers:
        saver.cancel()
    _note_saved()


async def _save_regularly() -> None:
    pause = SAVE_INTERVAL
    while True:
        await asyncio.sleep(pause)
        started = time.monotonic()
        app.save_all(app._build_persistence_save_dict())  # noqa: SLF001 - as at its end
        _note_saved()
        pause = max(SAVE_INTERVAL, (time.monotonic() - started) / MAX_SAVE_SHARE)


def _note_saved() -> None:
    Path(SAVED_MARK).touch()


def main() -> None:
    """Run the emulator until SIGTERM."""
    app._handle_lifespan = _handle_lifespan  # noqa: SLF001 - looked up by this name when it starts
    s3._get_object = _get_object  # noqa: SLF001 - looked up by this name for each request
    archive = {
        "create": create_archive,
        "update": lambda name, _, properties, stack: create_archive(name, properties, stack),
        "delete": lambda name, _: eventbridge._delete_archive({"ArchiveName": name}),  # noqa: SLF001 - as the API calls it
    }
    provisioners._RESOURCE_HANDLERS["AWS::Events::Archive"] = archive  # noqa: SLF001 - the one table of its types
    app.main()


if __name__ == "__main__":
    main()
