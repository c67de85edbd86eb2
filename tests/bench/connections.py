"""`./run.sh bench connections [--json]`: what one client's connections and streams cost all others.

Others send GET /assets/{id} on a few connections. Then one address opens 10,000 idle connections and one owner 300
streams, and the others are measured again: once with the default limits, where most of those connections are ended,
and once with limits so high that all stay open. Rounds are interleaved; figures are medians.
"""

import argparse
import asyncio
import json
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from statistics import median
from urllib.parse import urlsplit

from deploy.local.ports import free_port
from tests.bench.api import MEDIA, environment_of, filled_database, serving, token
from tests.bench.api_load import get, load

IDLE = 10_000
STREAMS = 300
OTHERS = 8
"""Connections of the others."""
ONE_ADDRESS = "127.0.0.2"
AT_ONCE = 100
"""Connections that are opened at the same time."""
ROUNDS = 3
SECONDS = 5.0
GOAL = 2.0
HIGH_LIMIT = {"MEDIA_API_CONNECTIONS": "60000"}
"""Of which one address may have a quarter."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Milliseconds of the others' 99th percentile, and how many of one client's connections and streams were open."""

    normal_p99_ms: float
    p99_ms: float
    idle: int
    streams: int

    @property
    def ratio(self) -> float:
        return self.p99_ms / self.normal_p99_ms


class _Idle(asyncio.Protocol):
    """A connection that sends nothing, or a request for a stream, and knows whether it is open."""

    def __init__(self, request: bytes = b"") -> None:
        self._request = request
        self.answer = b""
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.is_open = True
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.answer = (self.answer + data)[:64]

    def connection_lost(self, _exc: Exception | None) -> None:
        self.is_open = False


@asynccontextmanager
async def crowd(url: str) -> AsyncIterator[tuple[list[_Idle], list[_Idle]]]:
    """Open one address's idle connections and one owner's streams, and close them at the end."""
    parts, loop = urlsplit(url), asyncio.get_running_loop()
    request = get(f"{MEDIA}/assets/events", token("user-1"))
    idle, streams = [_Idle() for _ in range(IDLE)], [_Idle(request) for _ in range(STREAMS)]

    async def open_one(connection: _Idle) -> None:
        address = (ONE_ADDRESS, 0)
        await loop.create_connection(lambda: connection, parts.hostname or "", parts.port or 80, local_addr=address)

    together = idle + streams
    for start in range(0, len(together), AT_ONCE):
        await asyncio.gather(*map(open_one, together[start : start + AT_ONCE]))
    try:
        yield idle, streams
    finally:
        for connection in together:
            connection.transport.abort()


async def measure(limits: dict[str, str], rounds: int, seconds: float) -> Figures:
    """Load an API with these limits, alternately alone and beside a crowd."""
    async with filled_database() as (dsn, asset_id):
        port = free_port()
        environment = environment_of(dsn, port) | {"MEDIA_RATE_LIMIT_STREAMS": "1000000"} | limits
        async with serving(["api"], environment, b"api.serving") as api:
            url, request = f"http://127.0.0.1:{port}", get(f"{MEDIA}/assets/{asset_id}", token("user-0"))

            async def p99() -> float:
                one = await load(url, request, status=200, seconds=seconds, pid=api.pid, connections_open=OTHERS)
                return one.p99_ms

            await p99()  # to warm up
            normal, crowded, idle_open, streams_open = [], [], [], []
            for _ in range(rounds):
                normal.append(await p99())
                async with crowd(url) as (idle, streams):
                    crowded.append(await p99())
                    idle_open.append(sum(one.is_open for one in idle))
                    streams_open.append(sum(one.is_open and b" 200 " in one.answer for one in streams))
    return Figures(median(normal), median(crowded), min(idle_open), min(streams_open))


async def run(rounds: int, seconds: float) -> dict[str, Figures]:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < IDLE + STREAMS + 1000:
        raise SystemExit(f"`ulimit -Hn` is {hard}: too few files for {IDLE} connections")
    return {
        "default limits": await measure({}, rounds, seconds),
        "high limits": await measure(HIGH_LIMIT, rounds, seconds),
    }


def table(found: dict[str, Figures]) -> str:
    lines = [f"{'':<16}{'normal p99 ms':>14}{'beside p99 ms':>14}{'ratio':>7}{'idle open':>11}{'streams':>9}"]
    lines += [
        f"{name:<16}{one.normal_p99_ms:>14.1f}{one.p99_ms:>14.1f}{one.ratio:>7.2f}{one.idle:>11}{one.streams:>9}"
        for name, one in found.items()
    ]
    reached = all(one.ratio <= GOAL for one in found.values())
    return "\n".join([*lines, f"goal: at most {GOAL} × normal: {'met' if reached else 'not met'}"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.sh bench connections", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of one round")
    options = parser.parse_args()
    found = asyncio.run(run(options.rounds, options.seconds))
    report = {name: asdict(one) | {"ratio": one.ratio} for name, one in found.items()}
    sys.stdout.write((json.dumps(report) if options.json else table(found)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
