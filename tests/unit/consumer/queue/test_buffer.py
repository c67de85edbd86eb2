"""A prefetch buffer, to the number: places, the order of starting, fairness, messages that are put aside."""

from prometheus_client import CollectorRegistry

from consumer.queue.buffer import ASIDE, PrefetchBuffer
from consumer.queue.in_flight import InFlightMessage
from media.telemetry import Metrics
from tests.fakes.workers import in_flight


def buffer(slots: int = 10, prefetch: int = 20) -> PrefetchBuffer:
    return PrefetchBuffer("memory", Metrics(CollectorRegistry()), slots=slots, prefetch=prefetch)


def filled(held: PrefetchBuffer, *owners: str) -> list[InFlightMessage]:
    """Put a message for each owner, in places of their own."""
    messages = [in_flight(f"r{n}", owner=owner) for n, owner in enumerate(owners)]
    held.reserve(len(messages))
    for message in messages:
        held.put(message)
    return messages


def started(held: PrefetchBuffer) -> list[str]:
    """Start all that may run; return their owners in order."""
    owners = []
    while message := held.next():
        owners.append(message.owner)
    return owners


def test_places_are_reserved_as_far_as_they_go_and_given_back() -> None:
    held = buffer(slots=2, prefetch=3)
    assert [held.room, held.reserve(4), held.reserve(4), held.reserve(4), held.room] == [5, 4, 1, 0, 0]
    held.give_up(3)
    assert [held.room, held.reserve(0), held.reserve(2), held.room] == [3, 0, 2, 1]


def test_room_for_a_batch_or_for_the_prefetch_is_told() -> None:
    for prefetch, least in [(0, 1), (1, 1), (4, 4), (10, 10), (25, 10)]:
        held = buffer(slots=1, prefetch=prefetch)
        assert held.has_room.is_set()
        held.reserve(held.room)
        assert not held.has_room.is_set()
        for free in range(1, least + 1):
            held.give_up(1)
            assert held.has_room.is_set() == (free == least), (prefetch, free)


def test_no_room_is_told_while_paused() -> None:
    held = buffer()
    held.pause(True)
    held.give_up(1)
    assert not held.has_room.is_set()
    held.pause(False)
    assert held.has_room.is_set()


def test_no_more_run_than_there_are_slots() -> None:
    held = buffer(slots=2)
    messages = filled(held, "", "", "")
    assert [held.next(), held.next(), held.next()] == [*messages[:2], None]
    assert (held.waiting(), held.running(), held.held()) == (messages[2:], messages[:2], [messages[2], *messages[:2]])
    held.done(messages[0])
    assert [held.next(), held.next()] == [messages[2], None]
    assert held.room == 22 - 2


def test_an_owner_of_half_of_the_slots_lets_others_pass() -> None:
    held = buffer(slots=6)
    messages = filled(held, *"aaaaaa", "b", "", "a")
    assert started(held) == ["a", "a", "a", "b", "", "a"], "the last slot stays free for nobody"
    assert held.running()[-1] is messages[3], "the first of those that wait"
    assert [message.owner for message in held.waiting()] == ["a", "a", "a"]
    held.done(messages[0])
    held.done(messages[1])
    filled(held, "c")
    assert started(held) == ["a", "c"], "two are left, and a third is within its share"
    few = buffer(slots=3)
    filled(few, "a", "a", "b", "c")
    assert started(few) == ["a", "b", "c"], "half of three is one"


def test_one_slot_serves_owners_in_turn_of_arrival() -> None:
    held = buffer(slots=1)
    messages = filled(held, "a", "b", "a")
    for message in messages:
        assert held.next() is message
        assert held.next() is None
        held.done(message)
    assert held.room == 21
    [owned, _] = filled(held, "a", "")
    assert held.next() is owned, "an owner of nothing is within its share of one slot"


def test_messages_put_aside_give_their_places_back_up_to_a_bound() -> None:
    held = buffer(slots=50, prefetch=50)
    assert ASIDE == 80
    held.reserve(100)
    messages = [in_flight(f"r{n}") for n in range(82)]
    for message in messages:
        held.put_aside(message)
    assert held.room == 80, "two keep theirs"
    assert held.running() == held.held() == messages
    for message in messages[:2]:  # without a place of their own
        held.done(message)
    assert held.room == 80
    held.done(messages[80])
    assert held.room == 81
    for message in (messages[2], messages[81]):
        held.readmit(message)
    assert held.room == 80, "one takes a place again, the other had kept its own"
    assert held.waiting() == [messages[2], messages[81]]
    assert started(held) == ["", ""]


def test_a_message_that_ends_before_it_starts_gives_its_place_back() -> None:
    held = buffer(slots=1, prefetch=1)
    first, second = filled(held, "a", "a")
    held.done(second)
    assert (held.room, held.held(), held.next()) == (1, [first], first)


def test_waiting_and_running_messages_are_counted() -> None:
    metrics = Metrics(CollectorRegistry())
    held = PrefetchBuffer("memory", metrics, slots=2, prefetch=10)
    filled(held, "", "", "", "", "")
    held.next()
    held.next()
    held.reserve(1)
    held.put_aside(in_flight("aside"))

    def counted(state: str) -> float | None:
        return metrics.registry.get_sample_value("media_messages_in_flight", {"queue": "memory", "state": state})

    assert (counted("waiting"), counted("running")) == (3, 3)
