"""How soon a change is on the bus: assets live one after another, beside a sender and a bus that is well."""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from deploy.local import ports
from deploy.local import postgres as postgres_part
from media.asset_store.database import connect
from media.events.event_outbox import EventOutbox
from media.schema import apply as schema
from tests.fakes.eventbridge import BUS, FakeEventBridge, running_eventbridge
from tests.integration.media.asset_lives import AssetLives, sending

GOAL = 0.5
"""Seconds from the commit to the bus, for 95 of 100 events."""


class TimedBus(FakeEventBridge):
    """A bus that notes how old an event is when it comes."""

    def __init__(self) -> None:
        super().__init__()
        self.ages: list[float] = []

    def take(self, entry: dict[str, Any]) -> dict[str, str]:
        event = json.loads(entry["Detail"])
        self.ages.append((datetime.now(UTC) - datetime.fromisoformat(event["time"])).total_seconds())
        return super().take(entry)


async def measure(assets: int, at_once: int) -> list[float]:
    """Return the ages of the events of so many assets in seconds."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "logs").mkdir()
        server = await postgres_part.start(folder / "postgres", ports.free_port(), folder / "logs", uuid4().hex)
        stack.push_async_callback(server.child.stop)
        await postgres_part.create_database(server, "bench")
        dsn = server.dsn("bench")
        await schema.apply(dsn)
        store = await stack.enter_async_context(connect(dsn, max_size=at_once + 2))
        fake = await stack.enter_async_context(running_eventbridge(TimedBus()))
        assert isinstance(fake, TimedBus)
        await EventOutbox(store).set_bus(BUS)
        await stack.enter_async_context(sending(store, fake))
        lives = AssetLives(store)
        for _ in range(assets // at_once):
            await asyncio.gather(*(lives.ready() for _ in range(at_once)))
        await fake.until(assets // at_once * at_once * 3)
        return fake.ages


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.sh bench events", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--assets", type=int, default=500)
    parser.add_argument("--at-once", type=int, default=4)
    options = parser.parse_args()
    ages = asyncio.run(measure(options.assets, options.at_once))
    cuts = statistics.quantiles(ages, n=100)
    found = {"events": len(ages), "p50_ms": cuts[49] * 1000, "p95_ms": cuts[94] * 1000, "p99_ms": cuts[98] * 1000}
    if options.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return 0
    sys.stdout.write(", ".join(f"{name} {value:.0f}" for name, value in found.items()) + "\n")
    sys.stdout.write(f"p95 of at most {GOAL * 1000:.0f} ms: {'met' if cuts[94] <= GOAL else 'not met'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
