"""`./run.sh events` prints what comes, and with `--from-start` what the archive has; it leaves nothing behind."""

import asyncio
import json
from uuid import uuid4

from aiobotocore.session import get_session

from deploy.local.events import print_events
from tests.conftest import EmulatedAws

DEADLINE = 60.0


async def test_archived_and_new_events_are_printed_once(emulator: EmulatedAws) -> None:
    bus = emulator.topology.event_bus
    settings = {**emulator.client_env, "MEDIA_EVENT_BUS": bus}
    old, new = uuid4().hex, uuid4().hex
    printed: list[str] = []
    came = asyncio.Event()

    def show(line: str) -> None:
        printed.append(json.loads(line)["id"])
        came.set()

    session = get_session()
    session.set_credentials(emulator.access_key, emulator.secret_key)
    async with session.create_client("events", endpoint_url=emulator.url, region_name=emulator.region) as events:

        async def send(event_id: str) -> None:
            detail = json.dumps({"id": event_id})
            entry = {
                "EventBusName": bus,
                "Source": "docfliq.media",
                "DetailType": "Media Asset Ready",
                "Detail": detail,
            }
            await events.put_events(Entries=[entry])

        rules = len((await events.list_rules(EventBusName=bus))["Rules"])
        await send(old)
        printing = asyncio.create_task(print_events(settings, show, from_start=True))
        async with asyncio.timeout(DEADLINE):
            while old not in printed:
                came.clear()
                await came.wait()
            await send(new)
            while new not in printed:
                came.clear()
                await came.wait()
        printing.cancel()
        await asyncio.wait([printing])
        assert (printed.count(old), printed.count(new)) == (1, 1)
        assert len((await events.list_rules(EventBusName=bus))["Rules"]) == rules
