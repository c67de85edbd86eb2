"""/livez distinguishes what a restart mends from what heals by itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from unittest import mock

import aiohttp
import asyncpg
from prometheus_client import CollectorRegistry

from consumer.health import Health
from consumer.queue.circuit_breaker import Breakers
from consumer.queue.poller import Poller
from consumer.queue.worker import QueueWorker, WorkerLimits
from media.asset_store.database import HOPELESS, connect
from media.errors import Dependency, UnavailableError
from media.telemetry import Metrics
from tests.fakes.memory_queue import Request
from tests.fakes.virtual_time import virtual_time
from tests.fakes.workers import Harness, nothing

WAIT = 20
LIMITS = WorkerLimits(visibility=60, wait=WAIT)
BOUND = WAIT + 50
"""Seconds within which a poll loop must turn, by the design."""


async def nothing_missing() -> list[str]:
    return []


@asynccontextmanager
async def running(worker: QueueWorker) -> AsyncIterator[None]:
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@virtual_time
async def test_a_receive_that_never_ends_makes_its_queue_stuck() -> None:
    harness = Harness(limits=LIMITS)

    async def network(request: Request) -> None:
        if request.operation == "receive":
            await asyncio.Event().wait()

    harness.queue.network = network
    worker = harness.worker(nothing)
    health = Health([worker.poller], nothing_missing, harness.metrics)
    async with running(worker):
        await asyncio.sleep(BOUND - 1)
        assert health.stuck() == []
        await asyncio.sleep(2)
        assert health.stuck() == ["memory"]


@virtual_time
async def test_a_full_paused_or_failing_queue_is_not_stuck() -> None:
    async def away(_request: Request) -> None:
        raise UnavailableError(Dependency.SQS, "away")

    async def not_back() -> None:
        raise UnavailableError(Dependency.S3, "away")

    async def endless(_text: str, _message: object) -> None:
        await asyncio.sleep(24 * 3600)

    async def paused(_text: str, _message: object) -> None:
        raise UnavailableError(Dependency.S3, "away")

    full, failing, pausing = Harness(limits=LIMITS), Harness(limits=LIMITS), Harness(limits=LIMITS)
    failing.queue.network, pausing.probes = away, {Dependency.S3: not_back}
    for harness in (full, pausing):
        await harness.send(*(f"m{n}" for n in range(100)))
    workers = [full.worker(endless), failing.worker(nothing), pausing.worker(paused)]
    health = Health([worker.poller for worker in workers], nothing_missing, full.metrics)
    async with running(workers[0]), running(workers[1]), running(workers[2]):
        for _ in range(200):
            await asyncio.sleep(7)
            assert health.stuck() == []


class Loop:
    """As much of a poll loop as health looks at."""

    name, allowance, ended = "images", 70.0, False

    def __init__(self, turned: float) -> None:
        self.turned = turned


async def test_a_stuck_loop_makes_livez_503() -> None:
    now = asyncio.get_running_loop().time()  # the clock of time.monotonic
    loop = Loop(now)
    health = Health([cast("Poller", cast("Any", loop))], nothing_missing, Metrics(CollectorRegistry()))
    async with health.serve("127.0.0.1", 0) as port, aiohttp.ClientSession() as http:
        url = f"http://127.0.0.1:{port}/livez"
        async with http.get(url) as answer:
            assert (answer.status, await answer.json()) == (200, {"status": "ok", "stuck": []})
        loop.turned = now - loop.allowance - 1
        async with http.get(url) as answer:
            assert (answer.status, await answer.json()) == (503, {"status": "stuck", "stuck": ["images"]})
        loop.ended = True
        async with http.get(url) as answer:
            assert answer.status == 200, "a loop that was stopped is not stuck"


class Server:
    """A Postgres that refuses the password for as long as `refuses` is set, and else is down."""

    refuses = True

    async def connect(self, *_args: object, **_options: object) -> None:
        raise asyncpg.InvalidPasswordError("no") if self.refuses else ConnectionRefusedError


@virtual_time
async def test_password_that_is_refused_for_ten_minutes_needs_a_restart() -> None:
    server, held = Server(), asyncio.Event()

    async def hold(_text: str, _message: object) -> None:
        await held.wait()

    harness = Harness(limits=LIMITS)
    with mock.patch.object(asyncpg, "connect", server.connect):
        async with connect("postgresql://localhost/media") as database:

            async def ask() -> None:
                await database.fetchval("SELECT 1")

            breakers = Breakers({Dependency.POSTGRES: ask}, harness.metrics)
            worker = harness.worker(hold, breakers)
            health = Health(
                [worker.poller],
                nothing_missing,
                harness.metrics,
                needs_restart=lambda: database.needs_restart,
                busy=lambda: worker.busy,
            )
            async with running(worker), probing(breakers):
                breakers.trip(Dependency.POSTGRES)
                await asyncio.sleep(HOPELESS - 10)
                assert not health.hopeless()
                await asyncio.sleep(20)
                assert "refused our user or password for 6" in health.hopeless()
                await harness.send("film")
                await asyncio.sleep(WAIT)
                assert not health.hopeless(), "a film may be transcoded to its end"
                held.set()
                await asyncio.sleep(WAIT)
                assert health.hopeless()
                server.refuses = False
                await asyncio.sleep(WAIT)
                assert not health.hopeless(), "an outage ends by itself"


@asynccontextmanager
async def probing(breakers: Breakers) -> AsyncIterator[None]:
    task = asyncio.create_task(breakers.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_livez_is_503_with_the_reason_for_a_restart() -> None:
    health = Health([], nothing_missing, Metrics(CollectorRegistry()), needs_restart=lambda: "refused")
    async with health.serve("127.0.0.1", 0) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        answer = await http.get("/livez")
        assert (answer.status, (await answer.json())["reason"]) == (503, "refused")
