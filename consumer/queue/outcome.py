"""What can become of a message. The core knows queues, messages and outcomes; it knows nothing about media."""

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


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one part of a message ended. `delay` is seconds until it is visible again, where it goes back."""

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
STALE = Outcome(OutcomeKind.STALE)


def combined(outcomes: list[Outcome]) -> Outcome:
    """The outcome of a whole message: back in the queue if any part must be, else the gravest of its parts."""
    if len(outcomes) == 1:
        return outcomes[0]
    back = [outcome for outcome in outcomes if outcome.requeues]
    if back:
        return max(back, key=lambda outcome: outcome.delay)
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
