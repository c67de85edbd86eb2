"""What one document may cost: a small file can be written to keep whoever reads it busy for minutes."""

import time


class TooCostlyError(Exception):
    """The document took more than one may take."""


class Effort:
    """Seconds of CPU left for one document, in whatever thread it is looked at. Not for two threads at once."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._since = 0.0

    def begin(self) -> None:
        """At the beginning of a piece of work."""
        self._since = time.thread_time()

    def check(self) -> None:
        """Within a piece of work, often. Raises TooCostlyError when all is spent."""
        now = time.thread_time()
        self._left -= now - self._since
        self._since = now
        if self._left < 0:
            raise TooCostlyError
