"""Rate limits: how many requests of one class one user may send in a minute, counted in Redis or in this process.

Windows are fixed and begin with the clock's minutes, so that one INCR is enough: it returns the count, and the end of
the window is known. Services and admins are our own and are not limited.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from api.metrics import ApiMetrics
from api.problems import ProblemCode, ProblemError
from api.security.auth import Caller, Role
from media.settings import Settings

log = structlog.get_logger(__name__)

WINDOW = 60
"""Seconds of one window."""
REDIS_DEADLINE = 0.1
"""Seconds for one count in Redis, which takes one millisecond. After that the request goes on uncounted."""
REDIS_CONNECTIONS = 16
"""Connections of one process to Redis. Each carries some thousands of counts a second."""
REDIS_PAUSE = 1.0
"""Seconds without counting after Redis failed. In an outage, only one request a second waits for the deadline."""
USERS_LIMIT = 100_000
"""Users that are counted in this process within one window. Further users are not limited."""


class RateLimit(StrEnum):
    """Classes of endpoints, each with a limit of its own."""

    READ = "read"
    WRITE = "write"
    URL = "url"
    STREAM = "stream"


RATES = web.AppKey("rates", dict[Handler, RateLimit])
"""The rate limit class of every handler."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """One user's requests of one class in this window, and the seconds until it ends."""

    limit: int
    remaining: int
    reset: int

    def headers(self) -> dict[str, str]:
        """Return the headers of draft-ietf-httpapi-ratelimit-headers-06."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset),
            "RateLimit-Policy": f"{self.limit};w={WINDOW}",
        }


SUBJECT = web.RequestKey("subject", str)
"""Who sent a request, once its token is verified."""
ALLOWANCE = web.RequestKey("allowance", Allowance)


class RequestCounts(Protocol):
    """A counter. `hit` counts `amount` requests and returns the count with them, None when it could not be counted.

    A negative `amount` takes back what was counted.
    """

    async def hit(self, key: str, window: int, amount: int = 1) -> int | None: ...

    async def close(self) -> None: ...


class MemoryRequestCounts:
    """Counts in this process."""

    def __init__(self) -> None:
        self._window = 0
        self._counts: Counter[str] = Counter()

    async def hit(self, key: str, window: int, amount: int = 1) -> int | None:
        if window != self._window:
            self._window, self._counts = window, Counter()
        if len(self._counts) >= USERS_LIMIT and key not in self._counts:
            return None
        self._counts[key] += amount
        return self._counts[key]

    async def close(self) -> None:
        self._counts.clear()


class RedisRequestCounts:
    """Counts shared by all processes. When Redis fails, nothing is counted for REDIS_PAUSE, and `failed` is called."""

    def __init__(self, url: str, failed: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        # No retries: the next request is one. A request that finds all connections in use waits for one, within the
        # deadline. With protocol 2 and no driver's name, a new connection need not wait for three replies.
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=REDIS_CONNECTIONS,
            timeout=REDIS_DEADLINE,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            driver_info=None,
        )
        self._redis = Redis.from_pool(pool)
        self._failed = failed
        self._clock = clock
        self._resume = 0.0

    async def hit(self, key: str, window: int, amount: int = 1) -> int | None:
        if self._clock() < self._resume:
            self._failed()
            return None
        try:
            async with asyncio.timeout(REDIS_DEADLINE):
                name = f"media:{key}:{window}"
                count: int = await self._redis.incrby(name, amount)
                if count == amount:
                    await self._redis.expire(name, 2 * WINDOW)
                return count
        except (OSError, RedisError) as error:
            log.warning("rates.redis_away", error=f"{type(error).__name__}: {error}")
            self._resume = self._clock() + REDIS_PAUSE
            self._failed()
            return None

    async def close(self) -> None:
        await self._redis.aclose()


class RateLimits:
    """Admit or refuse requests. A limit of 0 means no limit."""

    def __init__(
        self,
        counts: RequestCounts,
        limits: Mapping[RateLimit, int],
        metrics: ApiMetrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._counts = counts
        self._limits = limits
        self._metrics = metrics
        self._clock = clock

    async def admit(self, rate: RateLimit, caller: Caller, amount: int = 1) -> Allowance | None:
        """Count requests, all or none of several. Return what is left, or None when there is no limit.

        Raises ProblemError(rate_limited).
        """
        limit = self._limits[rate]
        if not limit or caller.role is not Role.USER:
            return None
        now = self._clock()
        window = int(now) // WINDOW
        key = f"{rate}:{caller.subject}"
        count = await self._counts.hit(key, window, amount)
        if count is None:
            return None
        allowance = Allowance(limit, max(0, limit - count), (window + 1) * WINDOW - int(now))
        if count > limit:
            self._metrics.rate_limited.labels(rate).inc()
            if amount > 1:  # none of them was carried out, and fewer may fit into what is left
                await self._counts.hit(key, window, -amount)
            headers = {"Retry-After": str(allowance.reset), **allowance.headers()}
            raise ProblemError(ProblemCode.RATE_LIMITED, f"at most {limit} in {WINDOW} seconds", headers=headers)
        return allowance


def rate_limits(settings: Settings, metrics: ApiMetrics) -> tuple[RateLimits, RequestCounts]:
    """Build the limits of these settings, and their counts, which the caller must close."""
    failed = metrics.rates_uncounted.inc
    counts: RequestCounts = (
        RedisRequestCounts(settings.redis_url, failed) if settings.redis_url else MemoryRequestCounts()
    )
    limits = {
        RateLimit.READ: settings.rate_limit_reads,
        RateLimit.WRITE: settings.rate_limit_writes,
        RateLimit.URL: settings.rate_limit_urls,
        RateLimit.STREAM: settings.rate_limit_streams,
    }
    return RateLimits(counts, limits, metrics), counts
