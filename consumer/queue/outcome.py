"""Outcomes of messages. The core knows queues, messages and outcomes; it knows nothing about media."""

from dataclasses import dataclass
from enum import StrEnum


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one record, or a message, ended. `delay` is the seconds until it is visible again, where it is requeued."""

    kind: OutcomeKind
    delay: float = 0.0
    error: str = ""
    reason: str = ""

    @property
    def requeues(self) -> bool:
        return self.kind in {OutcomeKind.RETRY, OutcomeKind.RELEASED}


SUCCESS = Outcome(OutcomeKind.SUCCESS)
IGNORED = Outcome(OutcomeKind.IGNORED)
DUPLICATE = Outcome(OutcomeKind.DUPLICATE)
REGROUPED = Outcome(OutcomeKind.REGROUPED)
STALE = Outcome(OutcomeKind.STALE)


def combine(outcomes: list[Outcome]) -> Outcome:
    """Combine the outcomes of a message's records: requeue it if any must be, else take the gravest."""
    if len(outcomes) == 1:
        return outcomes[0]
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
