"""All clamds together: the one with the least to do goes first, one that fails goes last."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from handlers.scan.clamd.client import Clamd
from handlers.scan.clamd.instream import Reply, Source
from media.errors import Dependency, UnavailableError


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What one of them replied, and what it calls itself."""

    reply: Reply
    engine: str


class ScannerPool:
    """One or several clamds that stand in for each other."""

    def __init__(self, clamds: Sequence[Clamd]) -> None:
        if not clamds:
            raise ValueError("no clamd, no scan")
        self.all = tuple(clamds)

    async def scan(self, source: Source, size: int) -> ScanResult:
        """Have `size` bytes scanned by whoever can.

        Raises UnavailableError(clamd) when none can be reached and believed, TimeoutError when the one that took it
        gave no reply in time, and whatever `source` raises. Once bytes were sent no other one is tried: a file that
        brings scanners down must not bring down all of them in one go.
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
        """Returns as soon as one proves itself anew. Raises UnavailableError when none does."""
        proofs = [asyncio.ensure_future(one.verify(again=True)) for one in self.all]
        try:
            failures = []
            for proof in asyncio.as_completed(proofs):
                try:
                    return await proof
                except UnavailableError as error:
                    failures.append(error.detail)
            raise UnavailableError(Dependency.CLAMD, "; ".join(failures))
        finally:
            for one in proofs:
                one.cancel()
            await asyncio.gather(*proofs, return_exceptions=True)

    def oldest_database(self) -> datetime | None:
        """The date of the oldest signatures in use; None when none is known."""
        return min((date for one in self.all if (date := one.database_date())), default=None)
