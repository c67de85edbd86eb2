"""Counts what nobody foresaw: a part that meets nothing else for long cannot heal by itself."""

import asyncio
import time
from collections.abc import Collection

from media.errors import UnavailableError

BOUND = 3
"""Unforeseen failures in a row, from which on the daemon is not ready."""
HOPELESS = 600.0
"""Seconds of unforeseen failures in a row, after which the daemon ends. A proxy's odd minute is shorter."""
WATCH_INTERVAL = 5.0
"""Seconds between two looks at the parts."""


class PartFailedError(Exception):
    """A part has failed for too long, so that the daemon ends in order and starts anew."""


class PartHealth:
    """The failures in a row of one part of the daemon. What is foreseen, an outage say, neither counts nor heals."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._failures = 0
        self._since = 0.0

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self, error: Exception) -> bool:
        """Count a failure. Returns whether its trace is still to be logged: adapters log what they did not foresee."""
        is_ours = not isinstance(error, UnavailableError | TimeoutError)
        if is_ours or (isinstance(error, UnavailableError) and error.is_unforeseen):
            self._since = self._since if self._failures else time.monotonic()
            self._failures += 1
        return is_ours

    @property
    def keeps_failing(self) -> bool:
        return self._failures >= BOUND

    @property
    def is_hopeless(self) -> bool:
        return self.keeps_failing and time.monotonic() - self._since >= HOPELESS


async def watch_parts(parts: Collection[PartHealth]) -> None:
    """Wait until a part is hopeless. Raises PartFailedError."""
    while True:
        await asyncio.sleep(WATCH_INTERVAL)
        if hopeless := [part.name for part in parts if part.is_hopeless]:
            raise PartFailedError(f"{', '.join(hopeless)}: nothing but unforeseen failures for {HOPELESS:.0f} s")
