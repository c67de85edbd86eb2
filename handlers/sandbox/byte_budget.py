"""A budget of bytes: work waits until its need fits beside the work already in flight."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ByteBudget:
    """Bytes that all holders together may use.

    Requests are served in their order: no small one overtakes a large one.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def used(self) -> int:
        """Bytes that are reserved now."""
        return self._used

    @property
    def waiting(self) -> int:
        """Requests that wait for their bytes."""
        return len(self._waiting)

    @property
    def total(self) -> int:
        """Bytes that may be reserved in all."""
        return self._total

    def renew(self, total: int) -> None:
        """Set another total if nothing is reserved; otherwise keep the old one."""
        if not self._used:
            self._total = total

    @asynccontextmanager
    async def reserve(self, amount: int) -> AsyncIterator[None]:
        """Hold `amount` bytes of the budget, waiting for them. A request above the whole budget runs alone."""
        amount = min(amount, self._total)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        request = (amount, turn)
        self._waiting.append(request)
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if request in self._waiting:
                self._waiting.remove(request)
            elif turn.done() and not turn.cancelled():
                self._used -= amount  # admitted and canceled in the same turn of the loop
            self._admit()
            raise
        try:
            yield
        finally:
            self._used -= amount
            self._admit()

    def _admit(self) -> None:
        while self._waiting and self._used + self._waiting[0][0] <= self._total:
            amount, turn = self._waiting.popleft()
            if not turn.done():
                self._used += amount
                turn.set_result(None)
