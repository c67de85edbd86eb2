"""Beside the scans: says at start what the scanners will not take, and watches how old their signatures are."""

import asyncio
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from handlers.scan.clamd.client import Clamd
from handlers.scan.clamd.pool import ScannerPool
from media.errors import UnavailableError
from media.telemetry import Metrics

log = structlog.get_logger(__name__)

INTERVAL = 60.0
"""Seconds between two looks; freshclam brings new signatures a few times a day."""
OLD = 3 * 86_400.0
"""Seconds after which signatures count as old; as in deploy/prometheus/alerts.yaml."""
REMINDER = 60
"""Looks from one word about old signatures to the next: an hour of them."""


@dataclass(frozen=True, slots=True)
class ScannerMonitor:
    """`limits` are the largest uploads by asset type, `max_bytes` what is sent to a scanner at all; both bytes."""

    scanners: ScannerPool
    limits: Mapping[str, int]
    max_bytes: int
    metrics: Metrics
    interval: float = INTERVAL

    async def run(self) -> None:
        """For ever; ends by cancellation only. A scanner that is away is looked at again the next time.

        Whatever one answers: to watch is not worth the daemon's life.
        """
        unchecked = list(self.scanners.all)
        for look in itertools.count():
            try:
                unchecked = await self._look(unchecked)
            except Exception:
                log.exception("scanner.unforeseen")
            # For who watches logs only (service.yaml's alarm): each task's signatures are its own, and may age alone.
            if look % REMINDER == 0 and (age := self._age()) > OLD:
                log.warning("scanner.database_old", days=round(age / 86_400, 1))
            await asyncio.sleep(self.interval)

    async def _look(self, unchecked: list[Clamd]) -> list[Clamd]:
        """One look at all; returns those that are still unchecked."""
        unchecked = [one for one in unchecked if not await self._check(one)]
        for one in self.scanners.all:
            try:
                await one.refresh()
            except UnavailableError as error:
                log.warning("scanner.unavailable", clamd=str(one.address), error=str(error))
        self.metrics.database_age.set(self._age())
        return unchecked

    async def _check(self, one: Clamd) -> bool:
        """Log what this scanner will not take; False when it is away."""
        try:
            sizes = {size: await one.accepts(size) for size in {*self._sent().values()}}
            alerts = await one.alerts_encrypted()
        except UnavailableError as error:
            log.warning("scanner.unchecked", clamd=str(one.address), error=str(error))
            return False
        too_large = {
            name: size for name, size in self.limits.items() if size > self.max_bytes or not sizes[self._sent()[name]]
        }
        if too_large:
            log.warning(
                "scanner.limits", clamd=str(one.address), scan_max_bytes=self.max_bytes, not_scannable=too_large
            )
        if not all(sizes.values()):
            log.error("scanner.stream_limit", clamd=str(one.address), raise_StreamMaxLength_to=max(sizes))
        if not alerts:
            log.warning("scanner.encrypted_unnoticed", clamd=str(one.address), set_in_clamd_conf="AlertEncrypted yes")
        return True

    def _sent(self) -> dict[str, int]:
        """The most that is streamed, by asset type."""
        return {name: min(size, self.max_bytes) for name, size in self.limits.items()}

    def _age(self) -> float:
        """Seconds; NaN while no scanner has told a date, since 0 would be a lie."""
        oldest = self.scanners.oldest_database()
        return (datetime.now(UTC) - oldest).total_seconds() if oldest else math.nan
