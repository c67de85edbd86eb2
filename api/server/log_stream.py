"""Standard output in batches: a line for every request, each with a system call of its own, cost half of our speed."""

import asyncio
from typing import TextIO

DELAY = 0.05
"""Seconds that a line waits for others; a process that is killed loses as much."""
MOST = 64 * 1024
"""Characters kept back, at most."""


class BatchedLines:
    """Writes to `stream` what was given to `write`, after DELAY or MOST; at once where no event loop runs."""

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
        """Called after every line: sees to it that they are written soon."""
        if self._length > MOST:
            self.write_out()
        elif self._timer is None:
            try:
                self._timer = asyncio.get_running_loop().call_later(DELAY, self.write_out)
            except RuntimeError:
                self.write_out()

    def write_out(self) -> None:
        """Write all that is pending."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        text, self._length = "".join(self._pending), 0
        self._pending.clear()
        self._stream.write(text)
        self._stream.flush()
