"""Everything is asked at once, nobody waits for long, and a slow dependency is not taken for one that is away."""

import asyncio

from media.network.readiness import DEADLINE, DEADLINE_AWAY, MAX_WAIT, REMEMBERED, InTurn, Readiness
from tests.fakes.virtual_time import virtual_time


@virtual_time
async def test_all_that_do_not_answer_are_named_at_once_and_asked_rarely() -> None:
    asked: list[str] = []

    async def there() -> None:
        asked.append("there")

    async def silent() -> None:
        await asyncio.sleep(3600)

    async def broken() -> None:
        raise OSError

    async def unknown() -> bool:
        return False

    readiness = Readiness({"a": there, "b": silent, "c": broken, "d": unknown})
    before = asyncio.get_running_loop().time()
    answers = await asyncio.gather(*(readiness.reasons() for _ in range(50)))
    assert answers == [["b", "c", "d"]] * 50
    assert asyncio.get_running_loop().time() - before == MAX_WAIT
    assert asked == ["there"]
    await asyncio.sleep(DEADLINE)
    assert await readiness.reasons() == ["b", "c", "d"]
    assert asked == ["there"] * 2


@virtual_time
async def test_slow_dependency_is_there_and_one_that_falls_silent_is_noticed() -> None:
    delay = DEADLINE - 1

    async def busy() -> None:
        await asyncio.sleep(delay)

    readiness = Readiness({"scanner": busy})
    assert await readiness.reasons() == ["scanner"], "it has not answered yet"
    await asyncio.sleep(delay)
    for _ in range(5):
        assert await readiness.reasons() == []
        await asyncio.sleep(REMEMBERED)
    delay = DEADLINE * 2
    await asyncio.sleep(DEADLINE)
    assert await readiness.reasons() == [], "its last answer counts for as long as it may take"
    await asyncio.sleep(DEADLINE)
    assert await readiness.reasons() == ["scanner"]


@virtual_time
async def test_call_that_hangs_on_after_an_outage_is_given_up_early() -> None:
    takes = 0.0

    async def ask() -> None:
        await asyncio.sleep(takes)

    readiness = Readiness({"database": ask})
    assert await readiness.reasons() == []
    takes = 3600.0
    for wait, found in ((REMEMBERED, []), (DEADLINE, ["database"])):
        await asyncio.sleep(wait)
        assert await readiness.reasons() == found
    takes = 0.0  # the call that has just begun still hangs
    await asyncio.sleep(DEADLINE_AWAY)
    assert await readiness.reasons() == []


@virtual_time
async def test_of_calls_in_turn_one_is_made_each_period_and_one_that_fails_until_it_passes() -> None:
    made: list[str] = []
    is_refused = False

    async def find() -> None:
        made.append("find")

    async def store() -> None:
        made.append("store")
        if is_refused:
            raise OSError

    readiness = Readiness({"S3": InTurn([find, store])})
    for _ in range(3):
        assert [await readiness.reasons() for _ in range(5)] == [[]] * 5
        await asyncio.sleep(REMEMBERED)
    is_refused = True
    found = []
    for _ in range(3):
        found.append(await readiness.reasons())
        await asyncio.sleep(REMEMBERED)
    is_refused = False
    assert (found, await readiness.reasons()) == ([["S3"]] * 3, [])
    assert made == ["find", "store", "find", *["store"] * 4], "one call a period"
