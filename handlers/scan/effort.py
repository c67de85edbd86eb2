"""Limits the CPU time for one document: a small file can be crafted to keep a parser busy for minutes."""

import time


class TooCostlyError(Exception):
    """The document took more CPU time than allowed."""


class Effort:
    """Seconds of CPU left for one document, in any thread, but not in two threads at once."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._since = 0.0

    def begin(self) -> None:
        """Start the clock at the beginning of a piece of work."""
        self._since = time.thread_time()

    def check(self) -> None:
        """Subtract the time since the last call. Call it often. Raises TooCostlyError when no time is left."""
        now = time.thread_time()
        self._left -= now - self._since
        self._since = now
        if self._left < 0:
            raise TooCostlyError
