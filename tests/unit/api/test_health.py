"""/livez of an API that nobody calls."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from api.problems import ProblemError
from api.service import SERVICE, Service
from api.views.health import livez
from media.asset_store.database import HOPELESS, LOGIN_INTERVAL, connect
from tests.fakes.virtual_time import virtual_time


class Server:
    """A Postgres that refuses the password for as long as `refuses` is set."""

    refuses = False

    async def connect(self, *_args: object, **_options: object) -> Any:
        if self.refuses:
            raise asyncpg.InvalidPasswordError("no")
        return mock.AsyncMock()


@virtual_time
async def test_password_that_was_changed_ten_minutes_ago_is_noticed_without_a_request() -> None:
    server = Server()
    with mock.patch.object(asyncpg, "connect", server.connect):
        async with connect("postgresql://localhost/media") as database:
            app = web.Application()
            app[SERVICE] = cast("Service", SimpleNamespace(database=database))
            request = make_mocked_request("GET", "/livez", app=app)
            await asyncio.sleep(10 * HOPELESS)
            assert (await livez(request)).status == 200
            server.refuses = True
            await asyncio.sleep(HOPELESS)
            assert (await livez(request)).status == 200
            await asyncio.sleep(2 * LOGIN_INTERVAL)
            with pytest.raises(ProblemError, match=r"refused our user or password for 6\d\d s"):
                await livez(request)
            server.refuses = False
            await asyncio.sleep(LOGIN_INTERVAL)
            assert (await livez(request)).status == 200
