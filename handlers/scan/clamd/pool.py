"""All clamds together: the least loaded is tried first, one that failed is tried last."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from handlers.scan.clamd.client import Clamd
from handlers.scan.clamd.instream import Reply, Source
from media.errors import Dependency, UnavailableError


@dataclass(frozen=True, slots=True)
class ScanResult:
    """The reply of one clamd, and its version."""

    reply: Reply
    engine: str


class ScannerPool:
    """One or several clamds that replace each other."""

    def __init__(self, clamds: Sequence[Clamd]) -> None:
        if not clamds:
            raise ValueError("no clamd, no scan")
        self.all = tuple(clamds)

    async def scan(self, source: Source, size: int) -> ScanResult:
        """Have `size` bytes scanned by the first clamd that can be reached and verified.

        Raises UnavailableError(clamd) when there is none, TimeoutError when the chosen one gave no reply in time, and
        the errors of `source`. Once bytes were sent no other clamd is tried: a file that crashes scanners must not
        crash all of them at once.
        """
        failures: list[str] = []
        for one in sorted(self.all, key=lambda clamd: (clamd.backing_off, clamd.load)):
            try:
                reply = await one.scan(source, size)
            except UnavailableError as error:
                if error.dependency is not Dependency.CLAMD:
                    raise
                failures.append(error.detail)
            else:
                return ScanResult(reply, one.engine)
        raise UnavailableError(Dependency.CLAMD, "; ".join(failures))

    async def ping(self) -> None:
        """Verify all again, and return as soon as one succeeds. Raises UnavailableError when none does."""
        checks = [asyncio.ensure_future(one.verify(again=True)) for one in self.all]
        try:
            failures = []
            for check in asyncio.as_completed(checks):
                try:
                    return await check
                except UnavailableError as error:
                    failures.append(error.detail)
            raise UnavailableError(Dependency.CLAMD, "; ".join(failures))
        finally:
            for check in checks:
                check.cancel()
            await asyncio.gather(*checks, return_exceptions=True)

    def oldest_database(self) -> datetime | None:
        """Return the date of the oldest signatures in use; None when no date is known."""
        return min((date for one in self.all if (date := one.database_date())), default=None)
