"""Delays between tries, and counts of failures."""

import random
from collections import OrderedDict
from dataclasses import dataclass


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
