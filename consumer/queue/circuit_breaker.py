"""Circuit breakers: pause the queues that need a dependency which is down, until a probe succeeds."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

import structlog

from media.errors import Dependency
from media.telemetry import Metrics

log = structlog.get_logger(__name__)

OnRecovery = Callable[[Dependency], None]
"""Called when a dependency is back."""
Probe = Callable[[], Awaitable[None]]
"""Returns when the dependency answers; raises anything when it does not."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0
"""Seconds between two probes. A queue resumes within twice the longest after the dependency's return."""
PROBE_TIMEOUT = 4.0
"""Seconds for one probe of a dependency that is away: a call that began in the outage may hang on after it."""
WATCH_TIMEOUT = 8.0
"""Seconds for one probe while all is well, as long as the work gives a statement: a busy dependency is not away."""
WATCH_INTERVAL = 5.0
"""Seconds between two probes of a dependency that is watched while all is well, so that an idle consumer notices."""
RELAPSE = 10.0
"""Seconds after closing within which another trip is a relapse: the probe succeeded, real calls fail.

The pauses between probes then go on growing.
"""


class Breaker:
    """Closed while all is well; open from a trip until a probe succeeds. With `watch` a failed probe trips it too.

    `on_recovery` is called when it closes. After a relapse that is not believed at once: it is called when the breaker
    has stayed closed.
    """

    def __init__(
        self, dependency: Dependency, probe: Probe, metrics: Metrics, on_recovery: OnRecovery, *, watch: bool
    ) -> None:
        self.dependency = dependency
        self._on_recovery = on_recovery
        self._watch_interval = WATCH_INTERVAL if watch else None
        self._probe = probe
        self._gauge = metrics.circuit_open.labels(dependency)
        self._gauge.set(0)
        self._closed = asyncio.Event()
        self._closed.set()
        self._tripped = asyncio.Event()
        self._pause = FIRST_PAUSE
        self._closed_at = -math.inf

    @property
    def open(self) -> bool:
        return not self._closed.is_set()

    def trip(self) -> None:
        """Open the breaker, because a call found the dependency away."""
        if self._closed.is_set():
            log.warning("breaker.open", dependency=self.dependency)
            self._closed.clear()
            self._gauge.set(1)
            self._tripped.set()

    async def closed(self) -> None:
        """Wait until the breaker is closed."""
        await self._closed.wait()

    async def run(self) -> None:
        """Probe whenever tripped, until canceled."""
        while True:
            try:
                async with asyncio.timeout(self._watch_interval):
                    await self._tripped.wait()
            except TimeoutError:
                if await self._answers():
                    continue
                self.trip()
            relapsed = time.monotonic() - self._closed_at <= RELAPSE
            if not relapsed:
                self._pause = FIRST_PAUSE
            is_back = False
            while not is_back:
                await asyncio.sleep(self._pause)
                self._pause = min(LONGEST_PAUSE, self._pause * 2)
                is_back = await self._answers()
            self._tripped.clear()
            self._closed.set()
            self._closed_at = time.monotonic()
            self._gauge.set(0)
            log.info("breaker.closed", dependency=self.dependency)
            if relapsed:
                asyncio.get_running_loop().call_later(RELAPSE, self._recover, self._closed_at)
            else:
                self._recover(self._closed_at)

    def _recover(self, closed_at: float) -> None:
        """Tell that the dependency is back, unless the breaker was tripped since."""
        if closed_at == self._closed_at and not self.open:
            self._on_recovery(self.dependency)

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT if self.open else WATCH_TIMEOUT):
                await self._probe()
        except Exception as error:  # noqa: BLE001 - any failure means that it is not back yet
            log.info("breaker.probe_failed", dependency=self.dependency, error=str(error))
            return False
        return True


class Breakers:
    """All breakers by dependency. Those of `watched` are probed while all is well, too."""

    def __init__(
        self, probes: Mapping[Dependency, Probe], metrics: Metrics, *, watched: Collection[Dependency] = ()
    ) -> None:
        self._on_recovery: list[OnRecovery] = []

        def recovered(dependency: Dependency) -> None:
            for call in self._on_recovery:
                call(dependency)

        self._breakers = {
            name: Breaker(name, probe, metrics, recovered, watch=name in watched) for name, probe in probes.items()
        }

    def trip(self, dependency: Dependency) -> None:
        """Open the breaker of a dependency. SQS has none: the pollers back off by themselves."""
        if breaker := self._breakers.get(dependency):
            breaker.trip()

    def on_recovery(self, call: OnRecovery) -> None:
        """Have `call` called whenever a dependency is back."""
        self._on_recovery.append(call)

    def open(self, needed: Iterable[Dependency]) -> list[Dependency]:
        """Return which of these are down."""
        return [name for name in needed if name in self._breakers and self._breakers[name].open]

    async def closed(self, needed: Iterable[Dependency]) -> None:
        """Wait until none of these is down."""
        while down := self.open(needed):
            await self._breakers[down[0]].closed()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for breaker in self._breakers.values():
                group.create_task(breaker.run())
