"""Hours in milliseconds: an event loop whose clock jumps to the next thing that is due, and never waits for it."""

import asyncio
import selectors
import time
from collections.abc import Coroutine
from typing import Any
from unittest import mock


class StuckError(Exception):
    """Nothing is scheduled and nothing can happen: the coroutine under test waits for ever."""


class _JumpingSelector(selectors.DefaultSelector):
    """Finds no time to wait: what the loop would sleep is added to the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise StuckError
            self.now += max(timeout, 0.0)
        return ready


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run[T](work: Coroutine[Any, Any, T]) -> T:
    """Run to the end in virtual time; `time.monotonic` tells it too. No threads, no sockets: those take real time."""
    loop = _VirtualLoop()
    with mock.patch.object(time, "monotonic", loop.time), asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(work)
