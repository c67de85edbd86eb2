"""A dead letter as the consumer marked it: why it died, and when."""

import re
from dataclasses import dataclass
from uuid import UUID

from media.message_queue import Received

MOVED_BY_SQS = "max_receives"
"""What stands for the error of a letter that SQS moved itself: it was received too often, and nobody wrote why."""

KIND_LIMIT = 200
"""Characters of a reason by which letters are grouped."""

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_IDENTIFIER = re.compile(rf"{_UUID}|0x[0-9a-f]+", re.IGNORECASE)
_ASSET = re.compile(rf"""asset_id[\\"':\s]{{1,20}}({_UUID})|uploads/[a-z]+/[A-Za-z0-9_-]+/({_UUID})/""", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Group:
    """What letters have in common that died of the same: the error's code, and the reason without identifiers."""

    code: str
    kind: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message of a dead-letter queue. Times are Unix seconds; `died` is when it was sent to this queue."""

    received: Received
    error: str
    reason: str
    source: str
    first_received: float
    died: float

    @property
    def kind(self) -> str:
        """The reason without what differs from one asset to the next, so that equals group."""
        return _IDENTIFIER.sub("…", self.reason)

    @property
    def group(self) -> Group:
        return Group(self.error[:KIND_LIMIT], self.kind[:KIND_LIMIT])

    @property
    def asset_id(self) -> UUID | None:
        """The first asset that the body names, whatever its form and its envelopes: an example to look at, no more."""
        found = _ASSET.search(self.received.body)
        return UUID(found[1] or found[2]) if found else None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant: those for which all that is given holds.

    `reason` is an error's code or a part of the reason; `older_than` is seconds, `died_before` a Unix time.
    """

    reason: str | None = None
    older_than: float | None = None
    died_before: float | None = None
    group: Group | None = None

    @property
    def everything(self) -> bool:
        return self == Selection()

    def matches(self, letter: DeadLetter, now: float) -> bool:
        if self.older_than is not None and now - letter.died < self.older_than:
            return False
        if self.died_before is not None and letter.died > self.died_before:
            return False
        if self.group is not None and letter.group != self.group:
            return False
        return self.reason is None or self.reason == letter.error or self.reason in letter.reason


def letter_of(received: Received) -> DeadLetter:
    """Reads what the consumer wrote on the message when it gave up on it, or EventBridge on what it cannot deliver."""
    first = _attribute(received, "first-received")
    return DeadLetter(
        received=received,
        error=_attribute(received, "error") or _attribute(received, "ERROR_CODE") or MOVED_BY_SQS,
        reason=_attribute(received, "reason") or _attribute(received, "ERROR_MESSAGE"),
        source=_attribute(received, "source-queue"),
        first_received=_seconds(first) or received.sent,
        died=received.sent,
    )


def _attribute(received: Received, name: str) -> str:
    return str(received.attributes.get(name, {}).get("StringValue", ""))


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
