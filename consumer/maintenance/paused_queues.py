"""Finds the queues that this daemon or another has paused."""

from collections.abc import Sequence
from dataclasses import dataclass

from consumer.queue.circuit_breaker import Breakers
from consumer.queue.worker import Route
from media.asset_store.operations import Operations
from media.errors import Dependency


@dataclass(frozen=True, slots=True)
class PausedQueues:
    """Reads the circuit breakers of this daemon (`consumer_id`) and of every other live one.

    This daemon's own breakers do not suffice: it may drain few of the `routes`, or be idle and notice nothing. If any
    live consumer has an open circuit breaker, reminders for its queues are held back everywhere. A late reminder is
    harmless; a wasted one counts towards failure.
    """

    operations: Operations
    consumer_id: str
    routes: Sequence[Route]
    breakers: Breakers

    async def __call__(self) -> set[str]:
        """Return the names of the queues. Raises UnavailableError when Postgres is away."""
        away = {*self.breakers.open(list(Dependency)), *await self.operations.open_circuits(besides=self.consumer_id)}
        return {route.queue for route in self.routes if away.intersection(route.needs)}
