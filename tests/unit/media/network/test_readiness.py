"""Everything is asked at once, within a deadline, and not again for every request."""

import asyncio

from media.network.readiness import DEADLINE, REMEMBERED, Readiness
from tests.fakes.virtual_time import virtual_time


@virtual_time
async def test_all_that_do_not_answer_are_named() -> None:
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
    assert asyncio.get_running_loop().time() - before == DEADLINE
    assert asked == ["there"]
    await asyncio.sleep(REMEMBERED)
    await readiness.reasons()
    assert asked == ["there"] * 2
