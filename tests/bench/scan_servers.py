"""Warm Python peers, one process each: a file's name in, one line of JSON out, with seconds and reply.

`python -m tests.bench.scan_servers NAME CLAMD_SOCKET CLAMD_PORT S3_PORT FOLDER`
"""

import asyncio
import io
import json
import logging
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path

import structlog

from media.asset import AssetType, ObjectVersion

Scan = Callable[[str], Awaitable[str]]
KIB = 1024
LARGEST = 2000 * KIB * KIB
"""Bytes of the largest file that the benchmark's clamd takes."""


async def ours(stack: AsyncExitStack, socket: str, s3_port: int, folder: Path) -> Scan:
    """Scan as the consumer does: from S3 through the stream inspector to clamd."""
    from handlers.scan.clamd.client import Clamd  # noqa: PLC0415 - not in the memory of the other peers
    from handlers.scan.clamd.instream import Address  # noqa: PLC0415
    from handlers.scan.clamd.pool import ScannerPool  # noqa: PLC0415
    from handlers.scan.stream_inspector import StreamInspector  # noqa: PLC0415
    from media.aws.clients import Clients  # noqa: PLC0415
    from media.aws.s3 import ObjectStorage  # noqa: PLC0415
    from media.settings import Settings  # noqa: PLC0415

    urls = {
        f"{name}_queue_url": "http://-"
        for name in ("uploads", "images", "transcodes", "transcode_events", "recordings")
    }
    settings = Settings.model_validate(
        urls
        | {"database_url": "postgresql://-", "output_bucket": "bench", "clamd": f"unix://{socket}"}
        | {"aws_endpoint_url": f"http://127.0.0.1:{s3_port}"}
    )
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))  # answers go there
    storage = ObjectStorage(await Clients(settings, stack).s3())
    scanners = ScannerPool([Clamd(Address.parse(settings.clamd), scratch=folder, largest=LARGEST)])

    async def scan(name: str) -> str:
        version = ObjectVersion("bench", name)
        found = await storage.head(version)
        inspector = StreamInspector(AssetType.VIDEO)

        @asynccontextmanager
        async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
            stored = storage.stream(version)
            async with stored as pieces, aclosing(inspector.inspect(pieces)) as watched:
                yield watched

        scanned = await scanners.scan(opened, found.size if found and found.size else 0)
        await inspector.finish()
        return scanned.reply.said.rstrip(b"\0").decode()

    return scan


def package(socket: str, folder: Path) -> Scan:
    """Scan with the `clamd` package, which reads the file from disk."""
    import clamd  # noqa: PLC0415 - not in the memory of the other peers

    client = clamd.ClamdUnixSocket(socket)

    async def scan(name: str) -> str:
        with (folder / name).open("rb") as file:
            return str(client.instream(file))

    return scan


def aioclamd(port: int, folder: Path) -> Scan:
    """Scan with the `aioclamd` package, which supports TCP only."""
    from aioclamd import ClamdAsyncClient  # type: ignore[import-not-found]  # noqa: PLC0415 - installed on demand

    client = ClamdAsyncClient("127.0.0.1", port, timeout=600)

    async def scan(name: str) -> str:
        content = await asyncio.to_thread((folder / name).read_bytes)
        return str(await client.instream(io.BytesIO(content)))

    return scan


async def main(name: str, socket: str, port: str, s3_port: str, folder: Path) -> None:
    async with AsyncExitStack() as stack:
        if name == "ours":
            scan = await ours(stack, socket, int(s3_port), folder)
        else:
            scan = package(socket, folder) if name == "clamd" else aioclamd(int(port), folder)
        while line := await asyncio.to_thread(sys.stdin.readline):
            before, began = _start_memory(), time.perf_counter()
            reply = await scan(line.strip())
            seconds = time.perf_counter() - began
            peak = _memory("VmHWM")
            print(json.dumps({"seconds": seconds, "reply": reply, "peak": peak, "grown": peak - before}), flush=True)  # noqa: T201 - the benchmark reads it


def _start_memory() -> int:
    """Reset the peak and return the present bytes of memory."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _memory("VmRSS")


def _memory(field: str) -> int:
    """Read a field of `/proc/self/status` in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1]) * KIB


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], Path(sys.argv[5])))
