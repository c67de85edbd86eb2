"""Live changes: which streams wait for which assets. One poller feeds all streams of this process."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from uuid import UUID

from api.problems import ProblemCode, ProblemError
from api.security.auth import Caller
from media.asset_store.changes import ChangeFeed, Watched
from media.asset_store.database import Database

STREAMS = 2000
"""Open streams of one process. Each costs a socket and some 20 KB."""
STREAMS_OF_ONE = 10
"""Open streams of one user: a few pages in a few tabs."""
PENDING = 1000
"""Changed assets that may wait in one stream. Beyond that it is ended, and its client catches up when it reconnects."""


class Subscription:
    """The changed assets that one stream has not sent yet, each once however often it changed."""

    def __init__(self) -> None:
        self._pending: dict[UUID, None] = {}
        self._changes = asyncio.Event()
        self.ended = False
        self.missed = False
        """Whether changes were lost that the stream should have sent."""

    def notify(self, asset_id: UUID) -> None:
        self._pending[asset_id] = None
        if len(self._pending) > PENDING:
            self.end(missed=True)
        self._changes.set()

    def end(self, *, missed: bool = False) -> None:
        self.ended = True
        self.missed = self.missed or missed
        self._changes.set()

    async def wait(self, seconds: float) -> list[UUID]:
        """Wait for changed assets. Return none after `seconds` without a change, or when the stream was ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changes.wait()
        self._changes.clear()
        changed = list(self._pending)
        self._pending.clear()
        return changed


class EventHub:
    """Pass changes to the streams of callers who may see them."""

    def __init__(self) -> None:
        self._subscriptions: dict[UUID | str | None, set[Subscription]] = defaultdict(set)
        """By asset or by owner. None gets the changes of all owners."""
        self._open: dict[str, dict[Subscription, None]] = defaultdict(dict)
        """The streams of each user, oldest first."""
        self._listening = False
        self._has_streams = asyncio.Event()
        self._polled = asyncio.Event()
        """Whether there was a poll since the first of the open streams came, and none goes on."""

    @asynccontextmanager
    async def running(self, database: Database) -> AsyncIterator[None]:
        """Poll for changes until the block ends."""
        feed = ChangeFeed(database, self.watched, self.changed, self.listening)
        task = asyncio.create_task(feed.run(self._has_streams))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def watched(self) -> Watched:
        """Return what the open streams wait for. Streams that come later are not ready until this poll is over."""
        self._polled.clear()
        names = self._subscriptions.keys()
        return Watched(
            [name for name in names if isinstance(name, UUID)],
            [name for name in names if isinstance(name, str)],
            all=None in names,
        )

    def listening(self, is_connected: bool) -> None:
        """Note whether changes arrive. Streams end with a `reset` when they do not: their clients reconnect."""
        self._listening = is_connected
        self._polled.set()
        if not is_connected:
            self.end(missed=True)

    async def ready(self) -> None:
        """Wait until no later change is missed. A stream reads what it begins with only then."""
        await self._polled.wait()

    def changed(self, asset_id: UUID, owner_id: str) -> None:
        for name in (asset_id, owner_id, None):
            for subscription in self._subscriptions.get(name, ()):
                subscription.notify(asset_id)

    def end(self, *, missed: bool = False) -> None:
        """End all streams."""
        for group in self._subscriptions.values():
            for subscription in group:
                subscription.end(missed=missed)

    @contextmanager
    def subscribed(self, caller: Caller, asset_id: UUID | None) -> Iterator[Subscription]:
        """Subscribe to the changes of one asset (that the caller may see), or of all the caller's assets.

        When all places are taken, the user with most streams loses the oldest, unless that is the caller, or has just
        one more. Raises ProblemError(too_many_connections, unavailable).
        """
        if not self._listening:
            raise ProblemError(
                ProblemCode.UNAVAILABLE, "no changes arrive from the database", headers={"Retry-After": "2"}
            )
        own = len(self._open.get(caller.subject, ()))
        if own >= STREAMS_OF_ONE or not self._make_room(own):
            raise ProblemError(ProblemCode.TOO_MANY_CONNECTIONS, headers={"Retry-After": "10"})
        subscription = Subscription()
        name = asset_id or caller.owner_scope
        self._open[caller.subject][subscription] = None
        if not self._subscriptions:
            self._polled.clear()
        self._subscriptions[name].add(subscription)
        self._has_streams.set()
        try:
            yield subscription
        finally:
            self._leave(caller.subject, subscription)
            self._subscriptions[name].discard(subscription)
            if not self._subscriptions[name]:
                del self._subscriptions[name]
            if not self._subscriptions:
                self._has_streams.clear()

    def _make_room(self, own: int) -> bool:
        """Say whether a user with `own` streams may have another, at the price of somebody's who has more."""
        if sum(map(len, self._open.values())) < STREAMS:
            return True
        subject, streams = max(self._open.items(), key=lambda each: len(each[1]))
        if len(streams) <= own + 1:
            return False
        oldest = next(iter(streams))
        self._leave(subject, oldest)
        oldest.end()
        return True

    def _leave(self, subject: str, subscription: Subscription) -> None:
        """Give a place back, if it is not given away already."""
        streams = self._open.get(subject, {})
        streams.pop(subscription, None)
        if not streams:
            self._open.pop(subject, None)
