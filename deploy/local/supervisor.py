"""Watches the children: a part that dies ends the stack, a service that dies is started again, as ECS would."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from deploy.local.child import Child, PartError

MAX_RESTARTS = 5
RESTART_WINDOW = 60.0
"""Seconds; a service that dies more often than MAX_RESTARTS times within them ends the stack."""

WRONG_CONFIGURATION = 2
"""The services' exit status for settings that cannot work: starting again would not help."""

Say = Callable[[str], None]


class Service:
    """What may be started again, the consumer, the API and clamd: whichever child is alive at the moment."""

    def __init__(self, name: str, start: Callable[[], Awaitable[Child]], say: Say) -> None:
        self.name = name
        self._start = start
        self._say = say
        self._child: Child | None = None
        self._deaths: deque[float] = deque(maxlen=MAX_RESTARTS + 1)

    @property
    def child(self) -> Child:
        """The living child. Raises PartError before `start`."""
        if self._child is None:
            raise PartError(f"{self.name} was not started")
        return self._child

    async def start(self) -> None:
        """Start it and wait until it is ready. Raises PartError."""
        self._child = await self._start()

    async def keep_running(self) -> str:
        """Start it again whenever it dies; returns its obituary when that has no use any more."""
        while True:
            status = await self.child.wait()
            self._deaths.append(time.monotonic())
            if status == WRONG_CONFIGURATION or self._dies_too_often():
                return self.child.obituary()
            self._say(f"{self.child.obituary()}\n{self.name} is started again")
            try:
                await self.start()
            except PartError as error:
                return str(error)

    def _dies_too_often(self) -> bool:
        return len(self._deaths) > MAX_RESTARTS and self._deaths[-1] - self._deaths[0] < RESTART_WINDOW

    async def stop(self) -> None:
        if self._child is not None:
            await self._child.stop()

    def kill(self) -> None:
        """End it at once, for `stop` to find it ended."""
        if self._child is not None:
            self._child.kill()


class Supervisor:
    """Watches over what was started, from its making to `stop`."""

    def __init__(self, parts: Sequence[Child], services: Sequence[Service]) -> None:
        self._watchers = [asyncio.create_task(_death_of(part), name=f"watch {part.name}") for part in parts]
        self._watchers += [asyncio.create_task(one.keep_running(), name=f"keep {one.name}") for one in services]

    async def failure(self) -> str:
        """Until something ends for good; returns what, and its last log lines."""
        done, _ = await asyncio.wait(self._watchers, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()

    async def stop(self) -> None:
        """Look no more: what ends from now on was meant to."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.wait(self._watchers)


async def _death_of(part: Child) -> str:
    await part.wait()
    return part.obituary()
