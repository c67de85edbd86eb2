"""Finds out whose messages make up most of a backlog that has no tenants.

SQS's fair queues know a tenant by its MessageGroupId. S3's own notifications carry none, so each of them counts as a
tenant of its own, and a quiet owner's waits behind a loud owner's thousands. Such a flood is sent to the queue again,
with its owner as the group.
"""

import time
from collections import Counter, deque

from consumer.queue.in_flight import InFlightMessage

WINDOW = 30
"""Messages without a tenant that are looked back at. An owner of more than half of them may be flooding the queue."""
MEMORY = 60.0
"""Seconds after which a message is too old to be looked back at."""
BACKLOGGED = 30.0
"""Seconds after the buffer was last full for which the queue counts as backlogged. Without a backlog nobody waits."""


class FloodDetector:
    """Looks at each message that is received."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, str]] = deque(maxlen=WINDOW)
        self._full_at = float("-inf")

    def is_flood(self, message: InFlightMessage, *, full: bool) -> bool:
        """Count a message; return whether its owner floods the queue. `full` says whether the buffer is full."""
        if message.received.group_id or not message.owner or len(message.records) != 1:
            return False
        now = time.monotonic()
        self._full_at = now if full else self._full_at
        self._seen.append((now, message.owner))
        recent = Counter(owner for at, owner in self._seen if now - at <= MEMORY)
        return now - self._full_at <= BACKLOGGED and recent[message.owner] > WINDOW // 2
