"""Places of event streams: who gets one when all are taken, and who loses one for it."""

import asyncio
from contextlib import ExitStack

import pytest

from api import event_hub
from api.event_hub import EventHub, Subscription
from api.problems import ProblemCode, ProblemError
from api.security.auth import Caller, Role


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> EventHub:
    monkeypatch.setattr(event_hub, "STREAMS", 20)
    made = EventHub()
    made.listening(is_connected=True)
    return made


def subscribe(hub: EventHub, stack: ExitStack, subject: str, count: int) -> list[Subscription]:
    caller = Caller(subject, Role.USER)
    return [stack.enter_context(hub.subscribed(caller, None)) for _ in range(count)]


def test_newcomer_gets_the_place_of_a_user_with_many(hub: EventHub) -> None:
    with ExitStack() as stack:
        first, second = (subscribe(hub, stack, name, 10) for name in ("a", "b"))
        subscribe(hub, stack, "c", 6)
        assert sum(one.ended for one in first + second) == 6
        assert [sum(one.ended for one in streams) for streams in (first, second)] == [3, 3]
        assert first[0].ended, "the oldest goes"
        with pytest.raises(ProblemError) as refused:
            subscribe(hub, stack, "c", 1)
        assert refused.value.code is ProblemCode.TOO_MANY_CONNECTIONS
    with ExitStack() as stack:
        assert not any(one.ended for one in subscribe(hub, stack, "a", 10)), "all places were given back"


def test_many_users_shut_out_nobody(hub: EventHub) -> None:
    with ExitStack() as stack:
        for n in range(10):
            subscribe(hub, stack, f"user-{n}", 2)
        assert not subscribe(hub, stack, "newcomer", 1)[0].ended


async def test_stream_that_comes_during_a_poll_is_ready_after_it(hub: EventHub) -> None:
    """That poll passes over what changes meanwhile: whoever reads later sees it, and the next poll knows the stream."""
    with ExitStack() as stack:
        subscribe(hub, stack, "a", 1)
        hub.listening(is_connected=True)
        await hub.ready()
        assert hub.watched().owner_ids == ["a"]
        subscribe(hub, stack, "b", 1)
        ready = asyncio.create_task(hub.ready())
        await asyncio.sleep(0)
        assert not ready.done()
        hub.listening(is_connected=True)
        await ready
        assert hub.watched().owner_ids == ["a", "b"]


def test_stream_of_an_administrator_watches_all(hub: EventHub) -> None:
    with hub.subscribed(Caller("root", Role.ADMIN), None):
        assert hub.watched().all
    assert not hub.watched().all
