"""What becomes of a message whose records ended in different ways."""

import pytest

from consumer.queue.outcome import DUPLICATE, IGNORED, STALE, SUCCESS, Outcome, OutcomeKind, combine

DEAD, REJECTED = Outcome(OutcomeKind.DEAD), Outcome(OutcomeKind.REJECTED)
SOON, LATE = Outcome(OutcomeKind.RELEASED, 1), Outcome(OutcomeKind.RETRY, 9)
REGROUPED = Outcome(OutcomeKind.REGROUPED)


@pytest.mark.parametrize(
    ("outcomes", "combined"),
    [
        ([], IGNORED),
        ([STALE], STALE),
        ([SOON, LATE, SOON], LATE),
        ([DEAD, SOON, SUCCESS], SOON),
        ([IGNORED, REGROUPED], IGNORED),
        ([REGROUPED, SUCCESS, REGROUPED], SUCCESS),
        *[
            ([graver, other, graver], graver)
            for ranks in [[DEAD, REJECTED, SUCCESS, DUPLICATE, STALE, IGNORED]]
            for rank, other in enumerate(ranks)
            for graver in ranks[:rank]
        ],
    ],
)
def test_the_latest_requeue_wins_and_else_the_gravest_outcome(outcomes: list[Outcome], combined: Outcome) -> None:
    assert combine(outcomes) is combined
    assert combine(outcomes[::-1]) is combined


def test_retried_and_released_messages_are_requeued() -> None:
    requeued = [kind for kind in OutcomeKind if Outcome(kind).requeues]
    assert requeued == [OutcomeKind.RETRY, OutcomeKind.RELEASED]
