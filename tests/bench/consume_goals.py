"""The goals of the consume benchmark, as ratios of the measured figures."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.bench.consume_ours import POLLERS
from tests.bench.consume_run import Result

BARE = f"bare batch × {POLLERS}"
OURS = "ours"
SLOW = 0.01


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal is met if `value` is at least `least`. A figure with an upper limit is given as its inverse."""

    text: str
    value: float
    least: float

    @property
    def met(self) -> bool:
        return self.value >= self.least


def goals(found: Mapping[tuple[str, float], Result]) -> list[Goal]:
    """Return the goals for which all figures were measured."""
    ours = found.get((OURS, 0.0))
    if ours is None:
        return []
    reached = []
    against = {
        BARE: 0.9,
        "bare batch × 1": 0.9,
        "straightforward": 5.0,
        "sqs-consumer batch × 4": 2.0,
        "taskiq-aio-sqs": 4.0,
        "dramatiq-sqs": 4.0,
        "celery": 4.0,
    }
    for peer, least in against.items():
        if other := found.get((peer, 0.0)):
            reached.append(Goal(f"messages/s to {peer}", ours.per_second / other.per_second, least))
            reached.append(Goal(f"messages per CPU second to {peer}", other.cpu_ms / ours.cpu_ms, least))
    reached.append(Goal("messages per request (0.25 requests per message at most)", 1 / ours.requests, 4.0))
    if slow := found.get((OURS, SLOW)):
        reached.append(Goal("messages/s at 10 ms per call", slow.per_second, 4500))
    return reached
