"""A sign of life that cannot be given costs nobody's life. In virtual time."""

import asyncio
from typing import Any, cast

import pytest

from consumer.maintenance.presence import Presence
from media.asset_store.operations import REPORT_INTERVAL, ConsumerStatus, Operations
from media.errors import Dependency, UnavailableError
from tests.fakes.virtual_time import run

SIGN = ConsumerStatus("me", "running", [], 0)


class Failing:
    """Operations that fail at each call."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.asked = 0

    async def beat(self, _sign: ConsumerStatus) -> None:
        self.asked += 1
        raise self.error

    async def gone(self, _consumer_id: str) -> None:
        raise self.error


@pytest.mark.parametrize("error", [UnavailableError(Dependency.POSTGRES, "away"), ZeroDivisionError()])
def test_whatever_happens_the_next_sign_is_given(error: Exception) -> None:
    async def scenario() -> None:
        operations = Failing(error)
        task = asyncio.create_task(Presence(cast("Operations", cast("Any", operations)), lambda: SIGN).run())
        await asyncio.sleep(REPORT_INTERVAL * 2.5)
        assert operations.asked == 3
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(scenario())
