"""A minimal S3 for scans: HEAD and GET of the files in one folder, too fast to affect the measurement."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

_END = b"\r\n\r\n"


async def _answer(folder: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            request = (await reader.readuntil(_END)).decode("latin-1")
            method, target, _ = request.split(" ", 2)
            path = folder / target.split("?")[0].rsplit("/", 1)[-1]
            writer.write(_head({"Content-Length": str(path.stat().st_size), "ETag": '"bench"'}))
            await writer.drain()
            if method == "GET":
                with path.open("rb") as file:
                    await asyncio.get_running_loop().sendfile(writer.transport, file)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def _head(fields: Mapping[str, str]) -> bytes:
    lines = ["HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode() + _END


async def serve(folder: Path) -> None:
    """Serve until killed. The port is printed first."""
    server = await asyncio.start_server(lambda r, w: _answer(folder, r, w), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - the benchmark reads it
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
