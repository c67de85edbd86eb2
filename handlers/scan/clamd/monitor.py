"""Logs at start which sizes the scanners refuse, and watches the age of their signatures."""

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
"""Seconds between two rounds. freshclam brings new signatures a few times a day."""
OLD = 3 * 86_400.0
"""Seconds after which signatures count as old; as in deploy/prometheus/alerts.yaml."""
REMINDER = 60
"""Rounds between two warnings about old signatures: an hour."""


@dataclass(frozen=True, slots=True)
class ScannerMonitor:
    """Watches the scanners. `limits` are the largest uploads by asset type, `max_bytes` the largest scan; in bytes."""

    scanners: ScannerPool
    limits: Mapping[str, int]
    max_bytes: int
    metrics: Metrics
    interval: float = INTERVAL

    async def run(self) -> None:
        """Watch until canceled. A scanner that is away is tried again in the next round."""
        unchecked = list(self.scanners.all)
        for round_number in itertools.count():
            try:
                away = [one for one in unchecked if not await self._check(one)]
                for one in self.scanners.all:
                    try:
                        await one.refresh()
                    except UnavailableError as error:
                        log.warning("scanner.unavailable", clamd=str(one.address), error=str(error))
                self.metrics.database_age.set(self._age())
                unchecked = away
            except Exception:  # an unforeseen answer must not end the daemon
                log.exception("scanner.unforeseen")
            # alarms.yaml's alarm reads logs only. Each task has its own signatures, which may age alone.
            if round_number % REMINDER == 0 and (age := self._age()) > OLD:
                log.warning("scanner.database_old", days=round(age / 86_400, 1))
            await asyncio.sleep(self.interval)

    async def _check(self, one: Clamd) -> bool:
        """Log which sizes and alerts this scanner lacks. Returns False when it is away."""
        try:
            sizes = {size: await one.accepts(size) for size in {*self._scan_sizes().values()}}
            alerts = await one.alerts_encrypted()
            await one.scratch_for(self.max_bytes)  # so that the first file need not wait for it
        except UnavailableError as error:
            log.warning("scanner.unchecked", clamd=str(one.address), error=str(error))
            return False
        too_large = {
            name: size
            for name, size in self.limits.items()
            if size > self.max_bytes or not sizes[self._scan_sizes()[name]]
        }
        if too_large:
            log.warning(
                "scanner.limits", clamd=str(one.address), scan_max_bytes=self.max_bytes, not_scannable=too_large
            )
        if not all(sizes.values()):
            log.error("scanner.stream_limit", clamd=str(one.address), raise_StreamMaxLength_to=max(sizes))
        if not alerts:
            log.warning(
                "scanner.encrypted_unnoticed", clamd=str(one.address), set_in_clamd_conf="AlertEncryptedArchive yes"
            )
        return True

    def _scan_sizes(self) -> dict[str, int]:
        """Return the bytes of the largest scan, by asset type."""
        return {name: min(size, self.max_bytes) for name, size in self.limits.items()}

    def _age(self) -> float:
        """Return seconds; NaN while no date is known, since 0 would mean fresh signatures."""
        oldest = self.scanners.oldest_database()
        return (datetime.now(UTC) - oldest).total_seconds() if oldest else math.nan
