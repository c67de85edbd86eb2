"""The budget of bytes."""

import asyncio

from handlers.sandbox import ByteBudget
from tests.unit.handlers.sandbox.children import becomes


async def test_a_budget_admits_in_order_and_never_more_than_it_has() -> None:
    budget = ByteBudget(100)
    order: list[str] = []
    first_may_end = asyncio.Event()

    async def use(name: str, amount: int, until: asyncio.Event | None = None) -> None:
        async with budget.reserve(amount):
            assert budget.used <= 100
            order.append(name)
            if until:
                await until.wait()

    first = asyncio.ensure_future(use("first", 60, first_may_end))
    await becomes(lambda: order == ["first"])
    canceled = asyncio.ensure_future(use("canceled", 90))
    rest = [asyncio.ensure_future(use(*job)) for job in (("huge", 5000), ("small", 10))]
    await asyncio.sleep(0)
    canceled.cancel()
    assert order == ["first"]
    first_may_end.set()
    await asyncio.gather(first, *rest)
    assert order == ["first", "huge", "small"]
    assert budget.used == 0
