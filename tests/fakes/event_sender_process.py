"""A sender of events in a process of its own, to be killed: `python -m tests.fakes.event_sender_process DSN URL`."""

import asyncio
import sys

from media.asset_store.database import connect
from tests.fakes.eventbridge import FakeEventBridge
from tests.integration.media.asset_lives import sending


async def main(dsn: str, url: str) -> None:
    """Send until killed."""
    async with connect(dsn) as database, sending(database, FakeEventBridge(url=url)):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
