"""Delays between tries, counts of failures, and the messages that wait for a dependency."""

import random
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, replace

from consumer.queue.in_flight import InFlightMessage
from media.errors import Dependency

SHORTEST = 5.0
"""Seconds of delay from which on a message is worth the request that recalls it."""
MARGIN = 2.0
"""Seconds before its delay is over in which a message is not recalled: another consumer may be receiving it."""
MAX_RECEIVES = 12
"""Receives of a message, after which it is not recalled. The rest must outlast a dependency that comes and goes."""
MAX_HELD = 1000
"""Messages that are remembered; those released last."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter; times in seconds.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: sleep = random(0, min(cap, base * 2 ** n)).
    """

    base: float = 2.0
    cap: float = 300.0
    attempts: int = 5

    def delay(self, tries: int) -> float:
        """Seconds before the next try, after `tries` tries that failed (1 or more)."""
        ceiling = min(self.cap, self.base * 2.0 ** min(max(tries, 1) - 1, 32))
        return random.uniform(0.0, ceiling)  # noqa: S311 - spreading load, not keeping secrets

    def exhausted(self, tries: int) -> bool:
        return tries >= self.attempts


class FailureCounts:
    """Counts the failures of each message in this process, for work without a claim that counts them.

    SQS's own count of receives would not do: an outage, a drain or a full daemon raises it too. Only the `most`
    messages that failed last are remembered.
    """

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._counts: OrderedDict[str, int] = OrderedDict()

    def add(self, message_id: str) -> int:
        """Count a failure; return how many the message has had."""
        self._counts[message_id] = count = self._counts.pop(message_id, 0) + 1
        if len(self._counts) > self._most:
            self._counts.popitem(last=False)
        return count

    def forget(self, message_id: str) -> None:
        """Forget a message that is settled for good."""
        self._counts.pop(message_id, None)


def jittered(seconds: float, *, share: float = 0.2) -> float:
    """Lengthen `seconds` by up to `share` of them, so that messages released together do not return together."""
    return seconds * (1.0 + random.uniform(0.0, share))  # noqa: S311 - as above


@dataclass(frozen=True, slots=True)
class _Released:
    message: InFlightMessage
    dependency: Dependency


class PostponedMessages:
    """Remembers messages that were released for long because a dependency was away, to recall them once it is back.

    Their receipts are kept for as long as nobody can have received them again.
    """

    def __init__(self) -> None:
        self._released: deque[_Released] = deque(maxlen=MAX_HELD)

    def add(self, message: InFlightMessage, dependency: Dependency, delay: float) -> None:
        """Remember a message that was released because of a dependency, for `delay` seconds."""
        if delay < SHORTEST or message.received.receive_count > MAX_RECEIVES:
            return
        receipt_only = message.received._replace(body="", attributes={})
        expires = time.monotonic() + delay
        kept = replace(message, received=receipt_only, records=(), expires=expires, task=None, leases=set())
        self._released.append(_Released(kept, dependency))

    def take(self, dependency: Dependency) -> list[InFlightMessage]:
        """Return, and forget, the messages that still wait for a dependency."""
        limit = time.monotonic() + MARGIN
        left = [released for released in self._released if released.message.expires > limit]
        self._released.clear()
        self._released.extend(released for released in left if released.dependency != dependency)
        return [released.message for released in left if released.dependency == dependency]
