"""A fast queue in memory, with visibility timeouts, receipts and receive counts like SQS."""

import hashlib
import json
import time
from collections import deque
from collections.abc import Collection, Sequence
from uuid import uuid4

RECEIPT_PADDING = "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a" * 4
"""Padding to the length of real receipts, since every client pays for sending them back."""
_ATTRIBUTES = (
    b',"Attributes":{%b"ApproximateFirstReceiveTimestamp":"%d","ApproximateReceiveCount":"%d","SentTimestamp":"%d"}'
)


class FastQueue:
    """Holds messages by number. Bodies repeat, and are encoded once, beforehand."""

    def __init__(self, bodies: Sequence[str], messages: int, visibility: float = 30.0) -> None:
        self._fragments = [_fragment(body) for body in bodies]
        self._visible = deque(range(messages))
        self._invisible: dict[int, float] = {}
        self._receives: dict[int, int] = {}
        self._of_message: dict[int, bytes] = {}
        self._run = uuid4().hex[:12]
        self._visibility = visibility
        self._sent = int(time.time() * 1000)
        self._next = messages
        self.handed_out = 0
        self.deleted = 0
        self.redelivered = 0

    @property
    def remaining(self) -> int:
        return len(self._visible) + len(self._invisible)

    @property
    def depth(self) -> tuple[int, int]:
        """Return the numbers of visible messages and of those in flight."""
        return len(self._visible), len(self._invisible)

    def send(self, body: str) -> tuple[str, str]:
        """Add a message. Return its id and the MD5 of its body."""
        number, self._next = self._next, self._next + 1
        self._of_message[number] = _fragment(body)
        self._visible.append(number)
        return self._id(number), hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()

    def receive(self, limit: int, visibility: float | None, attributes: Collection[str]) -> bytes | None:
        """Return a ReceiveMessage response with at most `limit` messages, or None when nothing is visible.

        `attributes` are the system attributes asked for: with any come count and times, and the sender with `All`.
        """
        if not self._visible:
            return None
        until = time.monotonic() + (self._visibility if visibility is None else visibility)
        parts = []
        self.handed_out += min(limit, len(self._visible))
        for _ in range(min(limit, len(self._visible))):
            number = self._visible.popleft()
            self._invisible[number] = until
            parts.append(self._encode(number, attributes))
        return b'{"Messages":[' + b",".join(parts) + b"]}"

    def delete(self, receipt: str) -> bool:
        """Delete a message. Return False for an unknown receipt. Deleting twice is no error, as in SQS."""
        number = _number(receipt)
        if number is None or number >= self._next:
            return False
        if self._invisible.pop(number, None) is not None:
            self._receives.pop(number, None)
            self._of_message.pop(number, None)
            self.deleted += 1
        return True

    def change_visibility(self, receipt: str, seconds: float) -> bool:
        """Set the remaining visibility timeout. Return False if the message is not in flight."""
        number = _number(receipt)
        if number is None or number not in self._invisible:
            return False
        if seconds:
            self._invisible[number] = time.monotonic() + seconds
        else:
            self._reappear(number)
        return True

    def expire(self) -> bool:
        """Make messages visible whose timeout is over. Return True if there were any."""
        now = time.monotonic()
        over = [number for number, until in self._invisible.items() if until <= now]
        for number in over:
            self._reappear(number)
        return bool(over)

    def _reappear(self, number: int) -> None:
        del self._invisible[number]
        self._receives[number] = self._receives.get(number, 1) + 1
        self.redelivered += 1
        self._visible.append(number)

    def _encode(self, number: int, attributes: Collection[str]) -> bytes:
        fragment = self._of_message.get(number) or self._fragments[number % len(self._fragments)]
        head = f'{{"MessageId":"{self._id(number)}","ReceiptHandle":"{number:08d}{RECEIPT_PADDING}",'.encode()
        if not attributes:
            return head + fragment + b"}"
        sender = b'"SenderId":"AIDAEXAMPLEEXAMPLE22",' if "All" in attributes else b""
        values = sender, self._sent, self._receives.get(number, 1), self._sent
        return head + fragment + _ATTRIBUTES % values + b"}"

    def _id(self, number: int) -> str:
        return f"{number:08x}-0000-4000-8000-{self._run}"


def _fragment(body: str) -> bytes:
    digest = hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
    return f'"MD5OfBody":"{digest}","Body":{json.dumps(body)}'.encode()


def _number(receipt: str) -> int | None:
    return int(receipt[:8]) if receipt[:8].isdigit() and receipt.endswith(RECEIPT_PADDING) else None
