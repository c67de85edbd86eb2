"""Admission by memory: work waits until what it needs fits beside what is already in flight."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ByteBudget:
    """Bytes that all holders together may use. First come, first served: a large request is never overtaken."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def used(self) -> int:
        """Bytes promised at this moment."""
        return self._used

    @property
    def total(self) -> int:
        """Bytes that may be promised."""
        return self._total

    def renew(self, total: int) -> None:
        """Another total, when nobody holds any of it; else it stays."""
        if not self._used:
            self._total = total

    @asynccontextmanager
    async def reserve(self, amount: int) -> AsyncIterator[None]:
        """Holds `amount` bytes of the budget. One that is larger than the whole budget runs alone."""
        amount = min(amount, self._total)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (amount, turn)
        self._waiting.append(entry)
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if entry in self._waiting:
                self._waiting.remove(entry)
            elif turn.done() and not turn.cancelled():
                self._used -= amount  # admitted and cancelled in the same turn of the loop
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
