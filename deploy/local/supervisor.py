"""Watch the children: a part that dies ends the stack, and a service that dies is restarted, as by ECS."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from deploy.local.child import Child, PartError

MAX_RESTARTS = 5
RESTART_WINDOW = 60.0
"""Seconds in which a service may be restarted MAX_RESTARTS times. Another death ends the stack."""

WRONG_CONFIGURATION = 2
"""The services' exit status for invalid settings, where a restart does not help."""

Say = Callable[[str], None]


class Service:
    """A part that can be restarted (consumer, API, clamd), with its current child."""

    def __init__(self, name: str, start: Callable[[], Awaitable[Child]], say: Say) -> None:
        self.name = name
        self._start = start
        self._say = say
        self._child: Child | None = None
        self._deaths: deque[float] = deque(maxlen=MAX_RESTARTS + 1)

    @property
    def child(self) -> Child:
        """The current child. Raises PartError before `start`."""
        if self._child is None:
            raise PartError(f"{self.name} was not started")
        return self._child

    async def start(self) -> None:
        """Start it and wait until it is ready. Raises PartError."""
        self._child = await self._start()

    async def keep_running(self) -> str:
        """Restart it whenever it dies; return a description of its last exit once restarts are useless."""
        while True:
            status = await self.child.wait()
            self._deaths.append(time.monotonic())
            deaths = self._deaths
            dies_too_often = len(deaths) > MAX_RESTARTS and deaths[-1] - deaths[0] < RESTART_WINDOW
            if status == WRONG_CONFIGURATION or dies_too_often:
                return self.child.describe_exit()
            self._say(f"{self.child.describe_exit()}\n{self.name} is restarted")
            try:
                await self.start()
            except PartError as error:
                return str(error)

    async def stop(self) -> None:
        if self._child is not None:
            await self._child.stop()

    def kill(self) -> None:
        """Kill it at once; a running `stop` then returns."""
        if self._child is not None:
            self._child.kill()


class Supervisor:
    """Watches the started parts and services, from its construction to `stop`."""

    def __init__(self, parts: Sequence[Child], services: Sequence[Service]) -> None:
        self._watchers = [asyncio.create_task(_wait_for_death(part), name=f"watch {part.name}") for part in parts]
        self._watchers += [asyncio.create_task(one.keep_running(), name=f"keep {one.name}") for one in services]

    async def failure(self) -> str:
        """Wait until something ends for good; return its name and its last log lines."""
        done, _ = await asyncio.wait(self._watchers, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()

    async def stop(self) -> None:
        """Stop watching, since parts that end from now on are meant to."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.wait(self._watchers)


async def _wait_for_death(part: Child) -> str:
    await part.wait()
    return part.describe_exit()
