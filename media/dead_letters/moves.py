"""Moves dead letters back to their queue, or throws them away. Nothing is deleted before its copy was sent.

When it is interrupted between the two, a message is there twice, which the consumer's claims forgive; never less.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from media.dead_letters.browser import HOLD, Browser
from media.dead_letters.letters import DeadLetter, Selection
from media.errors import UnavailableError
from media.message_queue import BATCH, MessageQueue, Move

LOOK_PAUSE = 1.0
"""Seconds between two looks at a task of SQS."""


@dataclass(frozen=True, slots=True)
class Pace:
    """At most `rate` messages a second; None: as fast as it goes."""

    rate: float | None = None

    @property
    def at_once(self) -> int:
        """Messages received at once: no more than are moved well before their hold ends."""
        return BATCH if self.rate is None else max(1, min(BATCH, int(self.rate * HOLD / 2)))

    @property
    def whole(self) -> bool:
        """Whether SQS itself can keep it, which counts in whole messages a second."""
        return self.rate is None or self.rate >= 1

    async def wait(self, stop: asyncio.Event) -> None:
        """Until the next message may go, or the stop."""
        if self.rate is None:
            return
        try:
            async with asyncio.timeout(1 / self.rate):
                await stop.wait()
        except TimeoutError:
            return


async def move_one_by_one(
    dead: MessageQueue,
    source: MessageQueue,
    selection: Selection,
    pace: Pace,
    stop: asyncio.Event,
    moved: Callable[[DeadLetter], None],
) -> bool:
    """Send each selected letter to `source`, then delete it; `moved` is told each. Raises UnavailableError.

    True when the look ended before the queue did, so that more may be there that is meant.
    Only letters that died before now: one that is sent back and dies again at once would be moved for ever.
    """
    now = time.time()
    there = replace(selection, died_before=min(now, selection.died_before or now))
    async with Browser(dead, stop, at_once=pace.at_once) as browser:
        async for letter in browser.letters(there):
            await source.resend(letter.received)
            await browser.remove([letter])
            moved(letter)
            await pace.wait(stop)
        return browser.truncated


async def move_by_sqs(
    dead: MessageQueue,
    source: MessageQueue,
    pace: Pace,
    stop: asyncio.Event,
    progress: Callable[[Move], Awaitable[None]],
) -> Move | None:
    """Have SQS move the whole queue; None where it cannot. When stopped, the task is cancelled: nothing is lost.

    Raises UnavailableError; a task that has begun goes on without us then.
    """
    task = await dead.start_move(source, rate=int(pace.rate) if pace.rate else None)
    if task is None:
        return None
    try:
        while (move := await dead.move()).running:
            await progress(move)
            if await _stopped(stop, LOOK_PAUSE):
                return await _cancelled(dead, task)
    except UnavailableError as error:
        raise UnavailableError(
            error.dependency, f"{error.detail}. SQS itself goes on moving; it refuses another move until it is done"
        ) from error
    return move


async def _cancelled(dead: MessageQueue, task: str) -> Move:
    """How the task stands once it is cancelled. One that has ended meanwhile is refused, and need not be."""
    try:
        await dead.cancel_move(task)
    except UnavailableError:
        if (move := await dead.move()).running:
            raise
        return move
    return await dead.move()


async def purge(
    dead: MessageQueue, selection: Selection, stop: asyncio.Event, gone: Callable[[DeadLetter], None]
) -> bool:
    """Delete the selected letters for good; `gone` is told each that is. Raises UnavailableError.

    True when the look ended before the queue did, so that more may be there that is meant.
    """
    async with Browser(dead, stop) as browser:
        batch: list[DeadLetter] = []
        async for letter in browser.letters(selection):
            batch.append(letter)
            if len(batch) == BATCH:
                await _throw_away(browser, batch, gone)
                batch = []
        if batch:
            await _throw_away(browser, batch, gone)
        return browser.truncated


async def _throw_away(browser: Browser, batch: list[DeadLetter], gone: Callable[[DeadLetter], None]) -> None:
    for letter in await browser.remove(batch):
        gone(letter)


async def _stopped(stop: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await stop.wait()
    except TimeoutError:
        return False
