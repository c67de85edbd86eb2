"""Moves dead letters back to their queue, or deletes them. Nothing is deleted before its copy was sent.

An interruption between the two leaves a message twice, which the consumer's claims forgive; never less.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from media.aws.sqs import BATCH, MessageQueue, MoveTask
from media.dead_letters.browser import HOLD, DeadLetterBrowser
from media.dead_letters.dead_letter import DeadLetter, Selection
from media.errors import UnavailableError

POLL_INTERVAL = 1.0
"""Seconds between two looks at a move task of SQS."""


@dataclass(frozen=True, slots=True)
class Pace:
    """At most `rate` messages a second; None: no limit."""

    rate: float | None = None

    @property
    def at_once(self) -> int:
        """Messages received at once: no more than are moved well before their hold ends."""
        return BATCH if self.rate is None else max(1, min(BATCH, int(self.rate * HOLD / 2)))

    @property
    def fits_sqs(self) -> bool:
        """Whether SQS itself can keep it, which counts in whole messages a second."""
        return self.rate is None or self.rate >= 1

    async def wait(self, stop: asyncio.Event) -> None:
        """Wait until the next message may go, or the stop."""
        if self.rate is not None:
            await _wait(stop, 1 / self.rate)


async def move_one_by_one(
    dead: MessageQueue,
    source: MessageQueue,
    selection: Selection,
    pace: Pace,
    stop: asyncio.Event,
    on_moved: Callable[[DeadLetter], None],
) -> bool:
    """Send each selected dead letter to `source`, then delete it. Raises UnavailableError.

    True when the look ended before the queue did, so that more may be there that is meant.
    """
    # Only what died before now: a message that is sent back and dies again at once would be moved for ever.
    now = time.time()
    selection = replace(selection, died_before=min(now, selection.died_before or now))
    async with DeadLetterBrowser(dead, stop, at_once=pace.at_once) as browser:
        async for dead_letter in browser.dead_letters(selection):
            await source.resend(dead_letter.received)
            await browser.remove([dead_letter])
            on_moved(dead_letter)
            await pace.wait(stop)
        return browser.truncated


async def move_by_sqs(
    dead: MessageQueue,
    source: MessageQueue,
    pace: Pace,
    stop: asyncio.Event,
    on_progress: Callable[[MoveTask], Awaitable[None]],
) -> MoveTask | None:
    """Have SQS move the whole queue; None where it cannot. When stopped, the task is canceled: nothing is lost.

    Raises UnavailableError; a task that has begun goes on without us then.
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
    """Cancel a move task and return how it stands. One that has ended meanwhile is refused, and need not be."""
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

    True when the look ended before the queue did, so that more may be there that is meant.
    """

    async def delete(batch: list[DeadLetter]) -> None:
        for dead_letter in await browser.remove(batch):
            on_deleted(dead_letter)

    async with DeadLetterBrowser(dead, stop) as browser:
        batch: list[DeadLetter] = []
        async for dead_letter in browser.dead_letters(selection):
            batch.append(dead_letter)
            if len(batch) == BATCH:
                await delete(batch)
                batch = []
        if batch:
            await delete(batch)
        return browser.truncated


async def _wait(stop: asyncio.Event, seconds: float) -> bool:
    """Wait for the stop, at most so long; whether it came."""
    try:
        async with asyncio.timeout(seconds):
            return await stop.wait()
    except TimeoutError:
        return False
