"""Rate limits, counted in the process and in Redis, with Redis running, hung and gone."""

import asyncio
import contextlib
import shutil
import signal
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from api.metrics import ApiMetrics
from api.problems import ProblemCode, ProblemError
from api.security import rate_limits
from api.security.auth import Caller, Role
from api.security.rate_limits import (
    USERS_LIMIT,
    WINDOW,
    MemoryRequestCounts,
    RateLimit,
    RateLimits,
    RedisRequestCounts,
)
from deploy.local.ports import free_port
from tests.integration.api.conftest import MEDIA, RunningApi, bearer

DOCTOR = Caller("doctor-1", Role.USER)
LIMITS = dict.fromkeys(RateLimit, 3)
SERVER = shutil.which("redis-server")
PATIENCE = 20.0
"""Seconds for a Redis on a busy machine, where all requests must be counted."""
needs_redis = pytest.mark.skipif(SERVER is None, reason="redis-server is not installed")


@contextlib.asynccontextmanager
async def redis(port: int, folder: Path) -> AsyncIterator[Process]:
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
    server = await asyncio.create_subprocess_exec(str(SERVER), *arguments, stdout=DEVNULL)
    try:
        async with asyncio.timeout(10):
            while not await is_running(port):
                assert server.returncode is None
        yield server
    finally:
        if server.returncode is None:
            server.kill()
        await server.wait()


async def is_running(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return False
    writer.write(b"PING\r\n")
    line = await reader.readline()
    writer.close()
    return line == b"+PONG\r\n"


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


async def test_requests_are_limited_by_user_class_and_window() -> None:
    clock = Clock(WINDOW * 1000 + 10)
    limits = RateLimits(MemoryRequestCounts(), LIMITS, ApiMetrics(), clock)
    for left in (2, 1, 0):
        allowance = await limits.admit(RateLimit.READ, DOCTOR)
        assert allowance
        assert (allowance.remaining, allowance.reset) == (left, WINDOW - 10)
    with pytest.raises(ProblemError) as refused:
        await limits.admit(RateLimit.READ, DOCTOR)
    assert refused.value.code is ProblemCode.RATE_LIMITED
    assert refused.value.headers["Retry-After"] == str(WINDOW - 10)
    assert await limits.admit(RateLimit.WRITE, DOCTOR)
    assert await limits.admit(RateLimit.READ, Caller("doctor-2", Role.USER))
    clock.now += WINDOW - 10
    assert await limits.admit(RateLimit.READ, DOCTOR)


async def test_services_are_not_limited_and_zero_means_no_limit() -> None:
    limits = RateLimits(MemoryRequestCounts(), LIMITS | {RateLimit.URL: 0}, ApiMetrics())
    for _ in range(9):
        assert await limits.admit(RateLimit.READ, Caller("ms-6", Role.SERVICE)) is None
        assert await limits.admit(RateLimit.URL, DOCTOR) is None


async def test_number_of_counted_users_is_limited() -> None:
    counts = MemoryRequestCounts()
    for number in range(USERS_LIMIT):
        await counts.hit(str(number), 1)
    assert await counts.hit("one more", 1) is None
    assert await counts.hit("0", 1) == 2
    assert await counts.hit("one more", 2) == 1


async def test_limited_request_is_answered_with_retry_after(start_api: Any) -> None:
    async with start_api(rate_limit_reads=2) as api:
        api.service.rates._clock = Clock(time.time())
        for left in ("1", "0"):
            answer = await api.http.get(f"{MEDIA}/assets", headers=bearer("doctor-1"))
            assert (answer.status, answer.headers["RateLimit-Remaining"]) == (200, left)
            assert answer.headers["RateLimit-Limit"] == "2"
        answer = await api.http.get(f"{MEDIA}/assets", headers=bearer("doctor-1"))
        problem = await answer.json(content_type=None)
        assert (answer.status, problem["code"]) == (429, "rate_limited")
        assert 1 <= int(answer.headers["Retry-After"]) <= WINDOW
        assert answer.headers["RateLimit-Remaining"] == "0"
        assert (await api.call("GET", f"{MEDIA}/assets", "doctor-2"))[0] == 200
        assert (await api.http.get("/health")).status == 200
        assert 'media_http_rate_limited_total{class="read"} 1.0' in await metrics(api)


async def metrics(api: RunningApi) -> str:
    return await (await api.http.get("/metrics")).text()


@needs_redis
async def test_processes_share_their_counts_in_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "REDIS_DEADLINE", PATIENCE)
    port = free_port()
    async with redis(port, tmp_path):
        url, failures = f"redis://127.0.0.1:{port}", list[int]()
        counts = [RedisRequestCounts(url, lambda: failures.append(1)) for _ in range(2)]
        found = await asyncio.gather(*(counts[n % 2].hit("read:doctor-1", 7) for n in range(20)))
        assert sorted(filter(None, found)) == list(range(1, 21))
        assert await counts[0].hit("read:doctor-1", 8) == 1
        assert [await counts[0].hit("read:doctor-1", 8, amount) for amount in (100, -100)] == [101, 1]
        assert failures == []
        for one in counts:
            await one.close()


@needs_redis
async def test_requests_are_not_limited_while_redis_is_hung_or_gone(
    tmp_path: Path, start_api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    async with start_api(rate_limit_reads=5, redis_url=f"redis://127.0.0.1:{port}/0") as api:
        api.service.rates._clock = Clock(time.time())  # no new minute may begin in between
        async with redis(port, tmp_path) as server:
            with monkeypatch.context() as patient:
                patient.setattr(rate_limits, "REDIS_DEADLINE", PATIENCE)
                assert [await list_assets(api) for _ in range(6)] == [200] * 5 + [429]
            server.send_signal(signal.SIGSTOP)
            async with asyncio.timeout(PATIENCE):  # a Redis that hangs would never answer
                assert await asyncio.gather(*(list_assets(api) for _ in range(20))) == [200] * 20
            server.send_signal(signal.SIGCONT)
        assert [await list_assets(api) for _ in range(8)] == [200] * 8
        uncounted = await metrics(api)
        assert "media_rate_limit_uncounted_total 28.0" in uncounted
        async with redis(port, tmp_path):
            async with asyncio.timeout(PATIENCE):
                while not await is_counted(api):
                    pass


async def is_counted(api: RunningApi) -> bool:
    return "RateLimit-Limit" in (await api.http.get(f"{MEDIA}/assets", headers=bearer("doctor-1"))).headers


async def list_assets(api: RunningApi) -> int:
    return (await api.call("GET", f"{MEDIA}/assets"))[0]


async def test_requests_are_not_limited_without_redis(start_api: Any) -> None:
    async with start_api(rate_limit_reads=1, redis_url=f"redis://127.0.0.1:{free_port()}") as api:
        assert [await list_assets(api) for _ in range(4)] == [200] * 4
