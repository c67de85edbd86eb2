"""A small model of SQS's fair queues, after their description in the developer guide. By the loop's clock."""

import time
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence

from media.aws.sqs import FailedEntry, Received
from tests.fakes.memory_queue import MemoryQueue, StoredMessage

NOISY_SHARE = 0.1
"""Share of the messages in flight, or of the consumers' time, above which a tenant is a noisy neighbor."""
NOISY_IN_FLIGHT = 30
"""Messages in flight from which on their share counts."""
RECENT = 60.0
"""Seconds for which the time that a message took is remembered."""


class FairQueue(MemoryQueue):
    """Serves the messages of noisy tenants after all others. A message without a group is a tenant of its own."""

    def __init__(self, name: str = "memory") -> None:
        super().__init__(name)
        self._in_flight: dict[str, tuple[StoredMessage, float]] = {}
        """By receipt, with the time of the receive."""
        self._spent: deque[tuple[float, str, float]] = deque()

    async def delete(self, receipts: Sequence[str]) -> list[FailedEntry]:
        failed = await super().delete(receipts)
        self._end(receipts)
        return failed

    async def change_visibility(self, delays: Mapping[str, int]) -> list[FailedEntry]:
        failed = await super().change_visibility(delays)
        self._end([receipt for receipt, delay in delays.items() if not delay])
        return failed

    def _end(self, receipts: Sequence[str]) -> None:
        now = time.monotonic()
        for receipt in receipts:
            if found := self._in_flight.pop(receipt, None):
                self._spent.append((now, _tenant(found[0]), now - found[1]))

    def _take(self, limit: int, visibility: int) -> list[Received]:
        taken = super()._take(limit, visibility)
        for received in taken:
            self._in_flight[received.receipt] = (self.messages[received.message_id], time.monotonic())
        return taken

    def _of(self, receipt: str) -> StoredMessage | None:
        found = self._in_flight.get(receipt)
        return found[0] if found and found[0].receipt == receipt else None

    def _choose(self, ready: Sequence[StoredMessage], limit: int) -> Sequence[StoredMessage]:
        noisy = self._noisy()
        quiet = [stored for stored in ready if stored.group_id not in noisy][:limit]
        loud = [stored for stored in ready if stored.group_id in noisy][: limit - len(quiet)]
        return [*quiet, *loud]

    def _noisy(self) -> set[str]:
        now = time.monotonic()
        while self._spent and now - self._spent[0][0] > RECENT:
            self._spent.popleft()
        flying = Counter(_tenant(stored) for stored, _ in self._in_flight.values())
        spent: defaultdict[str, float] = defaultdict(float)
        for _, tenant, seconds in self._spent:
            spent[tenant] += seconds
        for stored, since in self._in_flight.values():
            spent[_tenant(stored)] += now - since
        busy, total = flying.total(), sum(spent.values())
        return {t for t, count in flying.items() if count >= NOISY_IN_FLIGHT and count > NOISY_SHARE * busy} | {
            t for t, seconds in spent.items() if seconds > NOISY_SHARE * total
        }


def _tenant(stored: StoredMessage) -> str:
    return stored.group_id or stored.message_id
