"""Standard output in batches. One system call for the line of each request halved our throughput."""

import asyncio
from typing import TextIO

DELAY = 0.05
"""Seconds that a line waits for others. A killed process loses as much."""
BUFFER_LIMIT = 64 * 1024
"""Characters that wait, at most."""


class BatchedLines:
    """Write lines to `stream` after DELAY or BUFFER_LIMIT, or at once where no event loop runs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._pending: list[str] = []
        self._length = 0
        self._timer: asyncio.TimerHandle | None = None

    def write(self, text: str) -> int:
        self._pending.append(text)
        self._length += len(text)
        return len(text)

    def flush(self) -> None:
        """Make sure that all lines are written soon. Called after every line."""
        if self._length > BUFFER_LIMIT:
            self.write_out()
        elif self._timer is None:
            try:
                self._timer = asyncio.get_running_loop().call_later(DELAY, self.write_out)
            except RuntimeError:
                self.write_out()

    def write_out(self) -> None:
        """Write all pending lines now."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        text, self._length = "".join(self._pending), 0
        self._pending.clear()
        self._stream.write(text)
        self._stream.flush()
