"""An event loop whose clock jumps to the next scheduled call instead of waiting for it: hours pass in milliseconds."""

import asyncio
import functools
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any
from unittest import mock


class StuckError(Exception):
    """Nothing is scheduled and nothing is ready: the test would wait for ever."""


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits: adds to the clock what the loop would sleep."""

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


def virtual_time[**P](test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test on a loop of its own in virtual time, which `time.monotonic` and `time.perf_counter` tell too.

    The test may use no threads and no sockets: those take real time. A decorator and not a fixture, because the loop
    of pytest-asyncio lives as long as the session's fixtures, and must not change below them.
    """

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        loop = _VirtualLoop()
        clocks = mock.patch.multiple(time, monotonic=loop.time, perf_counter=loop.time)
        with clocks, asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(test(*args, **kwargs))

    return run
