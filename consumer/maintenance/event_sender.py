"""Sends the events of the outbox to the bus, soon after their commit and for as long as it takes.

Every daemon does, and looks four times a second: a notification (`NOTIFY`) would take one lock for the whole database
at every commit. The work on files never waits for the bus.
"""

import asyncio
import math
import random
import time
from collections.abc import Sequence
from functools import partial
from uuid import UUID

import structlog

from consumer.daemon import BackgroundTask
from consumer.queue.circuit_breaker import Breakers
from consumer.queue.part_health import PartHealth
from media.asset_store.database import Database
from media.errors import Dependency, UnavailableError
from media.events.asset_event import SCHEMA_PATH, asset_event, detail_type
from media.events.event_outbox import EventOutbox, PendingEvent
from media.events.eventbridge import BATCH, BusEntry, EventBus
from media.settings import Settings
from media.telemetry import Metrics

log = structlog.get_logger(__name__)

SOURCE = "docfliq.media"
POLL_INTERVAL = 0.25
"""Longest pause, in seconds, before a look at an outbox that had little. 95 of 100 events are sent in 500 ms."""
BOUND = 5
"""Calls that fail in a row, from which on EventBridge counts as down."""
CHECK_INTERVAL = 60.0
"""Seconds between two questions whether the bus is there: one that is not takes events, and drops them."""
FINISH_TIMEOUT = 2.0
"""Seconds that a batch has to end when the daemon stops."""
MEASURE_INTERVAL = 15.0
"""Seconds between two measurements of the oldest event's age."""


class EventSender:
    """Takes events, sends them, and notes on the timeline that they were sent. `dataschema` is the schema's URL."""

    def __init__(
        self, outbox: EventOutbox, bus: EventBus, breakers: Breakers, metrics: Metrics, dataschema: str
    ) -> None:
        self._outbox = outbox
        self._bus = bus
        self._breakers = breakers
        self._metrics = metrics
        self._dataschema = dataschema
        self._failures = 0
        self._checked_at = -math.inf
        self.health = PartHealth("sender of events")

    async def run(self) -> None:
        """Send until canceled. What is being sent then is finished, if it can be soon, so that it is not sent twice."""
        while True:
            await self._breakers.closed([Dependency.POSTGRES, Dependency.EVENTBRIDGE])
            look = asyncio.ensure_future(self.look())
            try:
                has_more = await asyncio.shield(look)
            except asyncio.CancelledError:
                await asyncio.wait([look], timeout=FINISH_TIMEOUT)
                look.cancel()
                raise
            if not has_more:
                await asyncio.sleep(POLL_INTERVAL * random.uniform(0.8, 1.0))  # noqa: S311 - daemons take turns

    async def look(self) -> bool:
        """Send one batch. Returns whether more waits: a full batch, or a later event of an asset. Never raises.

        A call for each event that is committed meanwhile would cost more than the quarter of a second is worth.
        """
        try:
            if time.monotonic() - self._checked_at > CHECK_INTERVAL:
                await self._bus.check()
                self._checked_at = time.monotonic()
            taken = await self._outbox.take(BATCH)
            if taken:
                await self.send(taken)
        except UnavailableError as error:
            self.health.failed(error)
            self._breakers.trip(error.dependency)
            log.warning("events.failed", error=str(error))
            return False
        except Exception as error:
            self.health.failed(error)
            log.exception("events.unforeseen")
            return False
        self.health.succeeded()
        return len(taken) == BATCH or not all(event.is_newest for event in taken)

    async def send(self, events: Sequence[PendingEvent]) -> None:
        """Send events and write down what became of each. A call that fails is the failure of each."""
        entries: dict[UUID, BusEntry] = {}
        failed: dict[UUID, str] = {}
        for event in events:
            try:
                detail = asset_event(event, self._dataschema)
            except Exception as error:  # our bug, which the later events of its asset overtake, and those of others
                log.exception("events.unforeseen", event_id=str(event.event_id))
                failed[event.event_id] = repr(error)
            else:
                entries[event.event_id] = BusEntry(SOURCE, detail_type(event.kind), detail, event.created_at)
        try:
            answers = await self._bus.put(list(entries.values()))
        except UnavailableError as error:
            answers = [str(error)] * len(entries)
        failed |= {event_id: error for event_id, error in zip(entries, answers, strict=True) if error}
        sent = [event for event in events if event.event_id not in failed]
        if sent:
            await self._outbox.sent(sent)
            self._failures = 0
            for event in sent:
                self._metrics.events_sent.labels(event.kind).inc()
                self._metrics.event_delay.observe(max(0.0, time.time() - event.created_at.timestamp()))
        if failed:
            self._metrics.events_failed.inc(len(failed))
            log.warning("events.not_taken", events=len(failed), error=next(iter(failed.values())))
            await self._outbox.failed(failed)
        self._failures += not sent
        if self._failures >= BOUND:
            self._failures = 0
            self._breakers.trip(Dependency.EVENTBRIDGE)


async def watch_outbox(outbox: EventOutbox, bus: str | None, metrics: Metrics) -> None:
    """Write down which bus there is, and measure how long the oldest event has waited, until canceled.

    Where there is no bus any more, what was not sent to it stays, and is measured too.
    """
    is_registered = False
    while True:
        try:
            if not is_registered:
                await outbox.set_bus(bus)
                is_registered = True
            metrics.oldest_event.set(await outbox.oldest_age())
        except UnavailableError as error:
            log.warning("events.unmeasured", error=str(error))
        await asyncio.sleep(MEASURE_INTERVAL if is_registered else 1.0)


def event_tasks(
    settings: Settings, database: Database, bus: EventBus | None, breakers: Breakers, metrics: Metrics
) -> tuple[list[PartHealth], list[BackgroundTask]]:
    """Return what a daemon has to run for the events, and the health of it. Without a bus it sends none."""
    outbox = EventOutbox(database)
    tasks: list[BackgroundTask] = [partial(watch_outbox, outbox, settings.event_bus, metrics)]
    if bus is None:
        return [], tasks
    base = settings.public_url or f"http://localhost:{settings.api_port}"
    sender = EventSender(outbox, bus, breakers, metrics, f"{base}{SCHEMA_PATH}")
    return [sender.health], [*tasks, sender.run]
