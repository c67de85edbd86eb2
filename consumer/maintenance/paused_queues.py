"""Which queues are paused, by this daemon or another."""

from collections.abc import Sequence
from dataclasses import dataclass

from consumer.queue.circuit_breaker import Breakers
from consumer.queue.worker import Route
from media.asset_store.operations import Operations
from media.errors import Dependency


@dataclass(frozen=True, slots=True)
class PausedQueues:
    """What the breakers say, of this daemon (`consumer_id`) and of every other one that lives.

    This one may drain few of the `routes`, or have nothing to do and notice nothing. One whose scanner alone is away so
    holds up the nudges of all: late they do no harm, in vain they count.
    """

    operations: Operations
    consumer_id: str
    routes: Sequence[Route]
    breakers: Breakers

    async def __call__(self) -> set[str]:
        """The queues. Raises UnavailableError when Postgres is away."""
        away = {*self.breakers.open(list(Dependency)), *await self.operations.away(besides=self.consumer_id)}
        return {route.queue for route in self.routes if away.intersection(route.needs)}
