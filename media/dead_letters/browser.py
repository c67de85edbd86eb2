"""Sees the messages of a dead-letter queue one by one. SQS cannot be browsed: to look at a message is to receive it.

What was seen is held until the end, so that nothing is seen twice, and then let go at once. Whatever happens to the
process, what it held is back after HOLD seconds.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Self

import structlog

from media.dead_letters.letters import DeadLetter, Selection, letter_of
from media.errors import UnavailableError
from media.message_queue import BATCH, MessageQueue

log = structlog.get_logger(__name__)

HOLD = 300
"""Seconds that a message stays hidden from others while it is looked at."""
WAIT = 1
"""Seconds that a receive waits for a first message: a long poll, even a short one, asks all of SQS's servers."""
REPEATS = 20
"""Receives in a row that brought only what was seen before (its hold had ended), after which the look ends."""
LIMIT = 10_000
"""Messages held at once; SQS allows 120,000 in flight."""


class Browser:
    """An async context over one dead-letter queue; what was not removed in it is let go at its end.

    Every method raises UnavailableError when SQS is away. `stop` ends the look early. `truncated` says that the look
    ended before the queue did: too many letters were held, or only known ones came.
    """

    def __init__(
        self,
        queue: MessageQueue,
        stop: asyncio.Event,
        *,
        at_once: int = BATCH,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._queue = queue
        self._stop = stop
        self._at_once = at_once
        self._clock = clock
        self._held: dict[str, str] = {}
        self._removed: set[str] = set()
        self.truncated = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._let_go()
        except UnavailableError as failure:
            log.warning("dlq.not_released", queue=self._queue.name, seconds=HOLD, error=str(failure))

    async def letters(self, selection: Selection) -> AsyncIterator[DeadLetter]:
        """Each letter that was there and is selected, once."""
        repeats = 0
        while not self._stop.is_set():
            if len(self._held) >= LIMIT or repeats >= REPEATS:
                self.truncated = True
                return
            fresh = await self._receive()
            if fresh is None:
                return
            repeats = 0 if fresh else repeats + 1
            for letter in fresh:
                if self._stop.is_set():
                    return
                if selection.matches(letter, self._clock()):
                    yield letter

    async def remove(self, letters: list[DeadLetter]) -> list[DeadLetter]:
        """Delete at most ten letters; returns those. One whose hold ended meanwhile stays, and a warning says so."""
        failed = await self._queue.delete([letter.received.receipt for letter in letters])
        kept = {failure.receipt for failure in failed}
        for letter in letters:
            if letter.received.receipt in kept:
                log.warning("dlq.not_deleted", queue=self._queue.name, message_id=letter.received.message_id)
                continue
            self._held.pop(letter.received.message_id, None)
            self._removed.add(letter.received.message_id)
        return [letter for letter in letters if letter.received.receipt not in kept]

    async def _receive(self) -> list[DeadLetter] | None:
        """The next messages that were not seen before, None when the queue is empty.

        One that comes again is held by its newer receipt.
        """
        messages = await self._queue.receive(limit=self._at_once, wait=WAIT, visibility=HOLD)
        if not messages:
            return None
        fresh = [m for m in messages if m.message_id not in self._held and m.message_id not in self._removed]
        self._held |= {message.message_id: message.receipt for message in messages}
        return [letter_of(message) for message in fresh]

    async def _let_go(self) -> None:
        receipts = list(self._held.values())
        for first in range(0, len(receipts), BATCH):
            failed = await self._queue.change_visibility(dict.fromkeys(receipts[first : first + BATCH], 0))
            if lasting := [failure for failure in failed if not failure.gone]:
                log.warning("dlq.not_released", queue=self._queue.name, seconds=HOLD, count=len(lasting))
