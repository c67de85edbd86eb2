"""A dead letter as the consumer marked it: why it died, and when. Equal reasons form a group."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self
from uuid import UUID

from media.aws.sqs import Received

MOVED_BY_SQS = "max_receives"
"""The error code of a message that SQS moved itself: it was received too often, and nobody recorded a reason."""

REASON_LIMIT = 200
"""Characters of a reason that dead letters are grouped by."""

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_IDENTIFIER = re.compile(rf"{_UUID}|0x[0-9a-f]+", re.IGNORECASE)
_ASSET = re.compile(rf"""asset_id[\\"':\s]{{1,20}}({_UUID})|uploads/[a-z]+/[A-Za-z0-9_-]+/({_UUID})/""", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a message died: the error code, and the reason without identifiers, so that equal ones form a group."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message of a dead-letter queue. Times are Unix seconds; `died` is when it was sent to this queue."""

    received: Received
    error: str
    reason: str
    source: str
    first_received: float
    died: float

    @classmethod
    def from_message(cls, received: Received) -> Self:
        """Read the attributes that the consumer set when it gave up, or EventBridge when it could not deliver."""
        return cls(
            received=received,
            error=_attribute(received, "error") or _attribute(received, "ERROR_CODE") or MOVED_BY_SQS,
            reason=_attribute(received, "reason") or _attribute(received, "ERROR_MESSAGE"),
            source=_attribute(received, "source-queue"),
            first_received=_seconds(_attribute(received, "first-received")) or received.sent,
            died=received.sent,
        )

    @property
    def group(self) -> Reason:
        """The reason without identifiers. Dead letters with equal ones form a group."""
        return Reason(self.error[:REASON_LIMIT], _IDENTIFIER.sub("…", self.reason)[:REASON_LIMIT])

    @property
    def asset_id(self) -> UUID | None:
        """The first asset that the body names, in whatever form. An example, not a proof."""
        found = _ASSET.search(self.received.body)
        return UUID(found[1] or found[2]) if found else None


@dataclass(slots=True)
class ReasonGroup:
    """Dead letters that died for the same reason. The example is the one that died first."""

    code: str
    reason: str
    count: int
    oldest_at: datetime
    newest_at: datetime
    example_asset_id: UUID | None
    example_message_id: str


@dataclass(slots=True)
class ReasonGroups:
    """Counts dead letters by reason; `total` is how many were added."""

    total: int = 0
    _groups: dict[Reason, ReasonGroup] = field(default_factory=dict)

    def add(self, dead_letter: DeadLetter) -> None:
        self.total += 1
        reason, died_at = dead_letter.group, datetime.fromtimestamp(dead_letter.died, UTC)
        example = dead_letter.asset_id, dead_letter.received.message_id
        if reason not in self._groups:
            self._groups[reason] = ReasonGroup(reason.code, reason.text, 0, died_at, died_at, *example)
        group = self._groups[reason]
        group.count += 1
        group.newest_at = max(group.newest_at, died_at)
        if died_at < group.oldest_at:
            group.oldest_at = died_at
            group.example_asset_id, group.example_message_id = example

    def largest_first(self) -> Sequence[ReasonGroup]:
        return sorted(self._groups.values(), key=lambda group: -group.count)


@dataclass(frozen=True, slots=True)
class Selection:
    """A selection of dead letters: those for which every given condition holds.

    `reason` is an error code or a part of the reason; `older_than` is seconds, `died_before` a Unix time.
    """

    reason: str | None = None
    older_than: float | None = None
    died_before: float | None = None
    group: Reason | None = None

    @property
    def everything(self) -> bool:
        return self == Selection()

    def matches(self, dead_letter: DeadLetter, now: float) -> bool:
        if self.older_than is not None and now - dead_letter.died < self.older_than:
            return False
        if self.died_before is not None and dead_letter.died > self.died_before:
            return False
        if self.group is not None and dead_letter.group != self.group:
            return False
        return self.reason is None or self.reason == dead_letter.error or self.reason in dead_letter.reason


def _attribute(received: Received, name: str) -> str:
    return str(received.attributes.get(name, {}).get("StringValue", ""))


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
