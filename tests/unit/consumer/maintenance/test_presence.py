"""A consumer that cannot report its presence goes on. In virtual time."""

import asyncio
from typing import Any, cast

import pytest

from consumer.maintenance.presence import Presence
from media.asset_store.operations import REPORT_INTERVAL, ConsumerStatus, Operations
from media.errors import Dependency, UnavailableError
from tests.fakes.virtual_time import virtual_time

STATUS = ConsumerStatus("me", "running", [], 0)


class Failing:
    """Operations that fail at each call."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.asked = 0

    async def report(self, _status: ConsumerStatus) -> None:
        self.asked += 1
        raise self.error

    async def unregister(self, _consumer_id: str) -> None:
        raise self.error


@pytest.mark.parametrize("error", [UnavailableError(Dependency.POSTGRES, "away"), ZeroDivisionError()])
@virtual_time
async def test_reporting_goes_on_after_any_error(error: Exception) -> None:
    operations = Failing(error)
    task = asyncio.create_task(Presence(cast("Operations", cast("Any", operations)), lambda: STATUS).run())
    await asyncio.sleep(REPORT_INTERVAL * 2.5)
    assert operations.asked == 3
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
