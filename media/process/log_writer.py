"""Writes log lines from a thread of its own, so that nobody who fails to read the log stops the service.

A pipe that is not read, a pipe that is closed and a full disk cost lines, and nothing else. Lines that are lost are
counted in `media_log_lines_dropped_total`.
"""

import atexit
import os
import select
import threading
from typing import Self

from prometheus_client import Counter

LINGER = 0.05
"""Seconds that a line waits for others. One system call for the line of each request halved the API's throughput."""
BUFFER_LIMIT = 8 * 1024 * 1024
"""Characters that wait to be written, at most, beside those that are just being written.

Later lines are dropped: the first ones say how the trouble began.
"""
CLOSE_TIMEOUT = 2.0
"""Seconds that the last lines have when the process ends."""

LINES_DROPPED = Counter(
    "media_log_lines_dropped_total", "Log lines lost because standard output took none.", registry=None
)
"""Lines that this process lost. It has one standard output, so its registries share one counter."""


class LogWriter:
    """A text stream for whole lines. Neither `write` nor `flush` blocks or raises."""

    def __init__(self, descriptor: int, *, limit: int = BUFFER_LIMIT) -> None:
        self._descriptor = descriptor
        self._limit = limit
        self._pending: list[str] = []
        self._length = 0
        self._lock = threading.Lock()
        self._filled = threading.Event()
        self._closing = threading.Event()
        # A daemon, because a write to a pipe that nobody reads never returns.
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)

    def start(self) -> Self:
        """Start the thread. What waits when the process ends is written, for CLOSE_TIMEOUT seconds at most."""
        self._thread.start()
        atexit.register(self.close)  # after the hook for uncaught exceptions, which logs too
        return self

    def write(self, text: str) -> int:
        """Take lines to be written soon. They are dropped, and counted, while the buffer is full."""
        with self._lock:
            fits = self._length + len(text) <= self._limit
            if fits:
                self._pending.append(text)
                self._length += len(text)
                if not self._filled.is_set():  # setting it again costs as much as the rest
                    self._filled.set()
        if not fits:
            LINES_DROPPED.inc(text.count("\n"))
        return len(text)

    def flush(self) -> None:
        """Do nothing: every line is on its way."""

    def close(self) -> None:
        """Write what waits, for CLOSE_TIMEOUT seconds at most."""
        self._closing.set()
        self._filled.set()
        self._thread.join(CLOSE_TIMEOUT)

    def _run(self) -> None:
        while not (self._closing.is_set() and not self._pending):
            self._filled.wait()
            self._closing.wait(LINGER)
            with self._lock:
                text, self._length = "".join(self._pending), 0
                self._pending.clear()
                self._filled.clear()
                if self._closing.is_set():
                    self._filled.set()  # whatever comes now is written without waiting
            left = memoryview(text.encode(errors="backslashreplace"))
            while left:
                try:
                    left = left[os.write(self._descriptor, left) :]
                except BlockingIOError:  # whoever shares the pipe made it non-blocking
                    select.select([], [self._descriptor], [])
                except OSError:  # closed, or a full disk
                    LINES_DROPPED.inc(bytes(left).count(b"\n"))
                    break
