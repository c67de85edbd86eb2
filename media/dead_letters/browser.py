"""Read a dead-letter queue message by message. SQS cannot be browsed: reading a message means to receive it.

Each message is held until the end, so that none is seen twice, and then released. If the process dies, its messages
are visible again after HOLD seconds.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Self

import structlog

from media.aws.sqs import BATCH, MessageQueue
from media.dead_letters.dead_letter import DeadLetter, Selection
from media.errors import UnavailableError

log = structlog.get_logger(__name__)

HOLD = 300
"""Seconds for which a message stays hidden from others while it is read."""
WAIT = 1
"""Seconds that a receive waits for a first message. Even a short long poll queries all of SQS's servers."""
REPEATS = 20
"""Receives in a row with known messages only (their hold ended), after which reading ends."""
LIMIT = 10_000
"""Most messages held at once. SQS allows 120,000 in flight."""


class DeadLetterBrowser:
    """An async context over one dead-letter queue. At its end it releases the messages that were not removed.

    Every method raises UnavailableError when SQS is down. `stop` ends reading early. `truncated` says that reading
    ended before the queue did: too many messages were held, or only known ones came.
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
        receipts = list(self._held.values())
        try:
            for first in range(0, len(receipts), BATCH):
                failed = await self._queue.change_visibility(dict.fromkeys(receipts[first : first + BATCH], 0))
                if lasting := [failure for failure in failed if not failure.gone]:
                    log.warning("dlq.not_released", queue=self._queue.name, seconds=HOLD, count=len(lasting))
        except UnavailableError as failure:
            log.warning("dlq.not_released", queue=self._queue.name, seconds=HOLD, error=str(failure))

    async def dead_letters(self, selection: Selection) -> AsyncIterator[DeadLetter]:
        """Yield each selected dead letter once."""
        async for batch in self.batches(selection):
            for dead_letter in batch:
                if self._stop.is_set():
                    return
                yield dead_letter

    async def batches(self, selection: Selection) -> AsyncIterator[list[DeadLetter]]:
        """Yield the selected dead letters of each receive, at most ten. Each comes once."""
        repeats = 0
        while not self._stop.is_set():
            if len(self._held) >= LIMIT or repeats >= REPEATS:
                self.truncated = True
                return
            messages = await self._queue.receive(limit=self._at_once, wait=WAIT, visibility=HOLD)
            if not messages:
                return
            fresh = [m for m in messages if m.message_id not in self._held and m.message_id not in self._removed]
            # A message that comes again is held by its newer receipt.
            self._held |= {message.message_id: message.receipt for message in messages}
            repeats = 0 if fresh else repeats + 1
            now = self._clock()
            found = [
                dead_letter
                for dead_letter in map(DeadLetter.from_message, fresh)
                if selection.matches(dead_letter, now)
            ]
            if found and not self._stop.is_set():
                yield found

    async def remove(self, batch: list[DeadLetter]) -> list[DeadLetter]:
        """Delete at most ten; returns the deleted ones. One whose hold ended meanwhile stays, with a warning."""
        failed = await self._queue.delete([dead_letter.received.receipt for dead_letter in batch])
        kept = {failure.receipt for failure in failed}
        for dead_letter in batch:
            message_id = dead_letter.received.message_id
            if dead_letter.received.receipt in kept:
                log.warning("dlq.not_deleted", queue=self._queue.name, message_id=message_id)
                continue
            self._held.pop(message_id, None)
            self._removed.add(message_id)
        return [dead_letter for dead_letter in batch if dead_letter.received.receipt not in kept]
