"""Move dead letters back to their queue, or delete them. A message is deleted after its copy was sent.

An interruption between the two leaves it in both queues, which the consumer's claims tolerate. It is never lost.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from media.aws.sqs import BATCH, BatchSender, MessageQueue, MoveTask, NewMessage
from media.dead_letters.browser import DeadLetterBrowser
from media.dead_letters.dead_letter import DeadLetter, Selection
from media.errors import UnavailableError

POLL_INTERVAL = 1.0
"""Seconds between two polls of a move task of SQS."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Limits a move to `rate` messages a second. None means no limit."""

    rate: float | None = None

    @property
    def at_once(self) -> int:
        """Messages to move at once: those of a second, so that a slow move stays even."""
        return BATCH if self.rate is None else max(1, min(BATCH, int(self.rate)))

    @property
    def fits_sqs(self) -> bool:
        """Whether SQS can keep the rate, which it takes in whole messages a second."""
        return self.rate is None or self.rate >= 1

    async def wait(self, moved: int, stop: asyncio.Event) -> None:
        """Wait after `moved` messages until the next may be moved, or `stop` is set."""
        if self.rate is not None:
            await _wait(stop, moved / self.rate)


async def move_in_batches(
    dead: MessageQueue,
    source: MessageQueue,
    selection: Selection,
    pace: Pace,
    stop: asyncio.Event,
    on_moved: Callable[[DeadLetter], None],
) -> bool:
    """Send each selected dead letter to `source`, then delete it. Raises UnavailableError.

    Returns True when reading ended before the queue did, so that more selected messages may be there.
    """
    # Only messages that died before now: one that dies again at once would be moved for ever.
    now = time.time()
    selection = replace(selection, died_before=min(now, selection.died_before or now))
    async with DeadLetterBrowser(dead, stop, at_once=pace.at_once) as browser:
        sender = BatchSender(source)
        async for batch in browser.batches(selection):
            await sender.send([NewMessage.copy_of(dead_letter.received) for dead_letter in batch])
            await browser.remove(batch)
            for dead_letter in batch:
                on_moved(dead_letter)
            await pace.wait(len(batch), stop)
        return browser.truncated


async def move_by_sqs(
    dead: MessageQueue,
    source: MessageQueue,
    pace: Pace,
    stop: asyncio.Event,
    on_progress: Callable[[MoveTask], Awaitable[None]],
) -> MoveTask | None:
    """Have SQS move the whole queue. Returns None where it cannot. `stop` cancels the task; no message is lost.

    Raises UnavailableError. A task that has begun then goes on in SQS.
    """
    task = await dead.start_move(source, rate=int(pace.rate) if pace.rate else None)
    if task is None:
        return None
    try:
        while (move := await dead.move()).running:
            await on_progress(move)
            if await _wait(stop, POLL_INTERVAL):
                return await _cancel(dead, task)
    except UnavailableError as error:
        raise UnavailableError(
            error.dependency, f"{error.detail}. SQS itself goes on moving; it refuses another move until it is done"
        ) from error
    return move


async def _cancel(dead: MessageQueue, task: str) -> MoveTask:
    """Cancel a move task and return its state. SQS refuses to cancel one that has ended, which is no error."""
    try:
        await dead.cancel_move(task)
    except UnavailableError:
        if (move := await dead.move()).running:
            raise
        return move
    return await dead.move()


async def purge(
    dead: MessageQueue, selection: Selection, stop: asyncio.Event, on_deleted: Callable[[DeadLetter], None]
) -> bool:
    """Delete the selected dead letters for good. Raises UnavailableError.

    Returns True when reading ended before the queue did, so that more selected messages may be there.
    """
    async with DeadLetterBrowser(dead, stop) as browser:
        async for batch in browser.batches(selection):
            for dead_letter in await browser.remove(batch):
                on_deleted(dead_letter)
        return browser.truncated


async def _wait(stop: asyncio.Event, seconds: float) -> bool:
    """Wait for `stop`, at most `seconds`. Returns whether it was set."""
    try:
        async with asyncio.timeout(seconds):
            return await stop.wait()
    except TimeoutError:
        return False
