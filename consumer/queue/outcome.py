"""Outcomes of messages. The core knows queues, messages and outcomes; it knows nothing about media."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

FIRST_REASONS = 3
"""Different reasons that the dead letter of several records names."""


class OutcomeKind(StrEnum):
    """The `outcome` label of `media_messages_processed_total`."""

    SUCCESS = "success"
    REJECTED = "rejected"
    RETRY = "retry"
    DEAD = "dead"
    DUPLICATE = "duplicate"
    STALE = "stale"
    IGNORED = "ignored"
    RELEASED = "released"
    REGROUPED = "regrouped"  # sent to the queue again, with its owner as the group


REQUEUED = frozenset({OutcomeKind.RETRY, OutcomeKind.RELEASED})
"""Outcomes after which a message becomes visible again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one record, or a message, ended. `delay` is the seconds until it is visible again, where it is requeued."""

    kind: OutcomeKind
    delay: float = 0.0
    error: str = ""
    reason: str = ""

    @property
    def requeues(self) -> bool:
        return self.kind in REQUEUED


SUCCESS = Outcome(OutcomeKind.SUCCESS)
IGNORED = Outcome(OutcomeKind.IGNORED)
DUPLICATE = Outcome(OutcomeKind.DUPLICATE)
REGROUPED = Outcome(OutcomeKind.REGROUPED)
STALE = Outcome(OutcomeKind.STALE)


def combine(outcomes: list[Outcome]) -> Outcome:
    """Combine the outcomes of a message's records: requeue it if any must be, else take the gravest."""
    requeued = [outcome for outcome in outcomes if outcome.requeues]
    if requeued:
        return max(requeued, key=lambda outcome: outcome.delay)
    order = list(OutcomeKind)
    gravest = [
        OutcomeKind.DEAD,
        OutcomeKind.REJECTED,
        OutcomeKind.SUCCESS,
        OutcomeKind.DUPLICATE,
        OutcomeKind.STALE,
        OutcomeKind.IGNORED,
    ]
    return min(outcomes or [IGNORED], key=lambda o: gravest.index(o.kind) if o.kind in gravest else len(order))


def combine_dead(dead: Sequence[Outcome], records: int) -> Outcome:
    """Combine the ends of a message's dead records: the most frequent code, how many died, and the first reasons."""
    [(code, _)] = Counter(outcome.error for outcome in dead).most_common(1)
    reasons = dict.fromkeys(outcome.reason for outcome in dead)
    first = "; ".join(islice(reasons, FIRST_REASONS))
    return Outcome(OutcomeKind.DEAD, error=code, reason=f"{len(dead)} of {records} records: {first}")
