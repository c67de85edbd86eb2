"""/livez distinguishes a poll loop that hangs from one that waits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
from prometheus_client import CollectorRegistry

from consumer.health import Health
from consumer.queue.poller import Poller
from consumer.queue.worker import QueueWorker, WorkerLimits
from media.errors import Dependency, UnavailableError
from media.telemetry import Metrics
from tests.fakes.memory_queue import Request
from tests.fakes.virtual_time import virtual_time
from tests.fakes.workers import Harness, nothing

WAIT = 20
LIMITS = WorkerLimits(visibility=60, wait=WAIT)
BOUND = WAIT + 50
"""Seconds within which a poll loop must turn, by the design."""


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
    health = Health([worker.poller], list, harness.metrics)
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
    health = Health([worker.poller for worker in workers], list, full.metrics)
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
    health = Health([cast("Poller", cast("Any", loop))], list, Metrics(CollectorRegistry()))
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
