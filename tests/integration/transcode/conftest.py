from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from media.asset_store.database import connect
from media.aws.clients import Clients
from tests.conftest import Database, EmulatedAws
from tests.integration.media.conftest import settings_for
from tests.integration.transcode.engine_harness import Harness, new_harness


@pytest.fixture
async def harness(
    emulator: EmulatedAws, postgres: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Harness]:
    for name, value in emulator.client_env.items():
        monkeypatch.setenv(name, value)
    async with AsyncExitStack() as stack:
        s3 = await Clients(settings_for(emulator.url), stack).s3()
        database = await stack.enter_async_context(connect(postgres.dsn, application="test"))
        yield await new_harness(s3, database, tmp_path, emulator.region)
