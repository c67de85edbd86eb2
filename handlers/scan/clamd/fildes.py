"""FILDES over a unix socket: clamd reads the file by a descriptor, where INSTREAM would have it write a copy first."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryFile

from handlers.scan.batches import Batches
from handlers.scan.clamd.instream import Address, Reply, Source, connect, listen
from handlers.scratch import scratch_folder
from media.errors import Dependency, UnavailableError


async def fildes(
    address: Address, source: Source, size: int, folder: Path, given: asyncio.Event | None = None
) -> Reply:
    """Write `source` to a file below `folder`, have clamd scan it, and return the reply. The caller sets the deadline.

    `size` is the room to reserve there; `given` is set when clamd is handed the file. Raises UnavailableError(clamd)
    when clamd cannot be reached, or hangs up before it is handed the file; RetryableError for a full disk; and the
    errors of `source`.
    """
    async with nameless_file(source, size, folder) as descriptor:
        with await connect(address) as connection:
            heard, handed = bytearray(), True
            try:
                await asyncio.get_running_loop().sock_sendall(connection, b"zFILDES\0")
                if given:
                    given.set()
                socket.send_fds(connection, [b"\0"], [descriptor])
            except (BrokenPipeError, ConnectionResetError):
                handed = False
            in_order = await listen(connection, heard)
    if not handed and not heard:  # the file cannot be why
        raise UnavailableError(Dependency.CLAMD, f"{address} hung up before it was handed the file")
    return Reply(bytes(heard), handed and in_order)


@asynccontextmanager
async def nameless_file(source: Source, size: int, folder: Path) -> AsyncIterator[int]:
    """Write a source to a file without a name; yield a descriptor that can only be read from.

    A clamd of the same user could open it for writing all the same, so nothing else ever reads this file.
    """
    async with scratch_folder("scan-", folder, room=size) as place:
        file = await asyncio.to_thread(lambda: TemporaryFile(dir=place))  # noqa: SIM115 - closed below, in a thread
        descriptor = -1
        try:
            async with source() as pieces:
                batches = Batches(file.writelines)
                async for piece in pieces:
                    await batches.add(piece)
                await batches.flush()
                await batches.finish()
                await asyncio.to_thread(file.flush)
            descriptor = os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY | os.O_CLOEXEC)
            yield descriptor
        finally:
            if descriptor != -1:
                os.close(descriptor)
            await asyncio.to_thread(file.close)  # frees the file: a film's blocks take a while
