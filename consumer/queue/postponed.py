"""Messages that were released for long because a dependency was away. They are recalled once it is back."""

import time
from collections import deque
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
class _Released:
    message: InFlightMessage
    dependency: Dependency


class PostponedMessages:
    """Remembers the receipts of messages for as long as nobody can have received them again."""

    def __init__(self) -> None:
        self._released: deque[_Released] = deque(maxlen=MAX_HELD)

    def add(self, message: InFlightMessage, dependency: Dependency, delay: float) -> None:
        """Remember a message that was released because of a dependency, for `delay` seconds."""
        if delay < SHORTEST or message.received.receive_count > MAX_RECEIVES:
            return
        receipt_only = replace(message.received, body="", attributes={})
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
