"""One clamd: what it is sent at once, whether it can be believed, and how long it is left alone when it fails."""

import asyncio
import time
from datetime import UTC, datetime

import structlog

from handlers.sandbox.admission import ByteBudget
from handlers.scan.clamd.instream import Address, Reply, Source, accepts, ask, instream
from handlers.scan.clamd.liveness import Liveness
from handlers.scan.clamd.self_test import encrypted, source_of, too_deep
from handlers.scan.clamd.verdict import read_reply
from media.asset import Verdict
from media.errors import Code, Dependency, UnavailableError

log = structlog.get_logger(__name__)

SLOWEST = 10 * 1024 * 1024
"""Bytes per second: what a transfer may take beside the time for the verdict."""
FIRST_REST = 2.0
LONGEST_REST = 60.0
"""Seconds for which a clamd that failed comes after the others; doubles with each failure in a row."""
PROOF_TIMEOUT = 5.0
PROBE_PATIENCE = 0.5
"""Seconds of silence after which clamd has taken a chunk's length; a refusal comes within a millisecond."""


class Clamd:
    """One clamd. `timeout` is seconds for a verdict, beside those for the transfer at `SLOWEST`.

    At most `concurrency` scans run at once (its MaxThreads), of at most `spool` bytes together: it writes all that it
    is sent to its own disk before it looks.
    """

    def __init__(
        self, address: Address, *, timeout: float = 120.0, concurrency: int = 10, spool: int = 1 << 33
    ) -> None:
        self.address = address
        self.load = 0
        """Bytes that are being scanned or wait for it."""
        self.engine = ""
        """What it calls itself: version, database, the database's date."""
        self._timeout = timeout
        self._slots = asyncio.Semaphore(concurrency)
        self._spool = ByteBudget(spool)
        self._liveness = Liveness(address)
        self._believed = False
        self._proving = asyncio.Lock()
        self._failures = 0
        self._rests_until = 0.0

    @property
    def backing_off(self) -> bool:
        """Whether it failed a moment ago."""
        return time.monotonic() < self._rests_until

    async def scan(self, source: Source, size: int) -> Reply:
        """Have `size` bytes scanned.

        Raises UnavailableError(clamd) when it cannot be reached or believed, before `source` is opened; TimeoutError
        past the deadline, or when it stops answering anybody; and whatever `source` raises.
        """
        self.load += size
        try:
            async with self._spool.reserve(size), self._slots:
                await self.verify()
                return await self._scan(source, deadline=self._timeout + size / SLOWEST)
        finally:
            self.load -= size

    async def verify(self, *, again: bool = False) -> None:
        """Returns when it answers and is known to say so when it could not look into everything.

        Raises UnavailableError. Asked once, and again after each failure.
        """
        async with self._proving:
            if self._believed and not again:
                return
            try:
                await self.refresh()
                await self._require_alerts()
            except UnavailableError:
                self._fail()
                raise
            self._believed, self._failures, self._rests_until = True, 0, 0.0

    async def refresh(self) -> None:
        """Ask again what it calls itself. Raises UnavailableError, also when the answer makes no sense."""
        try:
            async with asyncio.timeout(PROOF_TIMEOUT):
                engine = (await ask(self.address, "VERSION")).decode()
        except TimeoutError as error:
            raise UnavailableError(Dependency.CLAMD, f"{self.address} does not answer") from error
        except UnicodeDecodeError as error:
            raise UnavailableError(Dependency.CLAMD, f"{self.address} answers with what is no text") from error
        if not engine or engine.endswith("ERROR"):
            raise UnavailableError(Dependency.CLAMD, f"{self.address} does not say what it is: {engine!r}")
        self.engine = engine

    def database_date(self) -> datetime | None:
        """When its signatures were made, as it last said; None when they carry no date.

        clamd writes its host's local time without a zone; containers run in UTC.
        """
        _, _, date = self.engine.rpartition("/")
        try:
            return datetime.strptime(date, "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
        except ValueError:
            return None

    async def accepts(self, size: int) -> bool:
        """Whether its StreamMaxLength lets `size` bytes in. Raises UnavailableError."""
        return await accepts(self.address, size, patience=PROBE_PATIENCE)

    async def alerts_encrypted(self) -> bool:
        """Whether it says so when an archive is encrypted. Raises UnavailableError."""
        return read_reply(await self._try(encrypted())).code is Code.ENCRYPTED

    async def _scan(self, source: Source, *, deadline: float) -> Reply:
        try:
            async with asyncio.timeout(deadline):
                reply = await self._liveness.beside(instream(self.address, source))
        except TimeoutError:
            self._fail()
            raise
        except UnavailableError as error:
            if error.dependency is Dependency.CLAMD:
                self._fail()
            raise
        if read_reply(reply).verdict is Verdict.ERROR:
            self._fail()
        return reply

    async def _require_alerts(self) -> None:
        finding = read_reply(await self._try(too_deep()))
        if finding.verdict is Verdict.CLEAN:
            log.error("clamd.not_verified", clamd=str(self.address), set_in_clamd_conf="AlertExceedsMax yes")
            raise UnavailableError(
                Dependency.CLAMD, f"{self.address} calls clean what it has not looked into: set AlertExceedsMax yes"
            )
        if finding.verdict is Verdict.ERROR:
            raise UnavailableError(Dependency.CLAMD, f"{self.address} gave no verdict: {finding.signature!r}")

    async def _try(self, content: bytes) -> Reply:
        try:
            async with asyncio.timeout(PROOF_TIMEOUT):
                return await instream(self.address, source_of(content))
        except TimeoutError as error:
            raise UnavailableError(Dependency.CLAMD, f"{self.address} does not answer") from error

    def _fail(self) -> None:
        """It must prove itself again, and until then the others go first."""
        self._believed = False
        self._rests_until = time.monotonic() + min(LONGEST_REST, FIRST_REST * 2**self._failures)
        self._failures = min(self._failures + 1, 10)
