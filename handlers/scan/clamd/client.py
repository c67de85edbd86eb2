"""One clamd: the limit of scans at once, the self-test, and the back-off after a failure."""

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import structlog

from handlers.sandbox.byte_budget import ByteBudget
from handlers.scan.clamd.failures import clamd_calls
from handlers.scan.clamd.fildes import fildes
from handlers.scan.clamd.instream import Address, Reply, Source, accepts, ask, instream
from handlers.scan.clamd.liveness import Liveness
from handlers.scan.clamd.self_test import encrypted, source_of, too_deep
from handlers.scan.clamd.verdict import read_reply
from media.asset import Verdict
from media.errors import Code, Dependency, UnavailableError

log = structlog.get_logger(__name__)

SLOWEST = 10 * 1024 * 1024
"""Bytes per second of the slowest transfer that is allowed for, beside the time for the verdict."""
FIRST_BACKOFF = 2.0
"""Seconds for which a clamd that failed is tried last. They double with each failure in a row."""
MAX_BACKOFF = 60.0
SELF_TEST_TIMEOUT = 5.0
"""Seconds for an answer or a verdict of the self-test."""
PROBE_TIMEOUT = 0.5
"""Seconds of silence after which clamd has accepted a chunk's length. A refusal comes within a millisecond."""


class Clamd:
    """One clamd. `timeout` is seconds for a verdict, in addition to the transfer at `SLOWEST`.

    At most `concurrency` scans run at once (its MaxThreads), of at most `spool` bytes together: clamd writes every
    stream to its own disk before it scans.

    Behind a unix socket it is handed descriptors of files in `scratch` instead, if its limits admit files of `largest`
    bytes. Beyond its limits it would call a file infected by a heuristic, where it refuses a stream for its size.
    """

    def __init__(
        self,
        address: Address,
        *,
        timeout: float = 120.0,
        concurrency: int = 10,
        spool: int = 1 << 33,
        scratch: Path | None = None,
        largest: int = 0,
    ) -> None:
        self.address = address
        self.load = 0
        """Bytes that are being scanned or wait for a scan."""
        self.engine = ""
        """clamd's answer to VERSION: version, database, the database's date."""
        self._timeout = timeout
        self._slots = asyncio.Semaphore(concurrency)
        self._spool = ByteBudget(spool)
        self._scratch = scratch
        self._largest = largest
        self._admitted: int | None = None
        self._liveness = Liveness(address)
        self._verified = False
        self._verifying = asyncio.Lock()
        self._failures = 0
        self._backs_off_until = 0.0

    @property
    def backing_off(self) -> bool:
        """Whether it failed a moment ago and is tried after the others."""
        return time.monotonic() < self._backs_off_until

    async def scan(self, source: Source, size: int) -> Reply:
        """Have `size` bytes scanned.

        Raises UnavailableError(clamd) when clamd cannot be reached or verified, before `source` is opened, or when it
        stops answering before it is given a byte; TimeoutError past the deadline, or when it stops answering PING
        later; and the errors of `source`.
        """
        self.load += size
        given = asyncio.Event()
        try:
            async with self._spool.reserve(size), self._slots:
                if self._verified and not await self._liveness.is_alive():
                    # Asked before it is sent the file, so that the file cannot be why.
                    self._fail()
                    raise UnavailableError(Dependency.CLAMD, f"{self.address} does not answer PING")
                await self.verify()
                try:
                    async with asyncio.timeout(self._timeout + size / SLOWEST):
                        scratch = await self.scratch_for(size)
                        handed = fildes(self.address, source, size, scratch, given) if scratch else None
                        reply = await self._liveness.guard(handed or instream(self.address, source, given), given)
                except TimeoutError:
                    self._fail()
                    raise
                except UnavailableError as error:
                    if error.dependency is Dependency.CLAMD:
                        self._fail()
                    raise
                except OSError as error:  # the network to it; S3's errors have been translated
                    self._fail()
                    raise UnavailableError(Dependency.CLAMD, f"{self.address}: {error!r}") from error
                if read_reply(reply).verdict is Verdict.ERROR:
                    self._fail()
                    if reply.said:  # it lives, and says that it cannot: its disk may be full. The self-test decides.
                        await self.verify()
                return reply
        finally:
            self.load -= size

    async def verify(self, *, again: bool = False) -> None:
        """Check that clamd answers, and that it reports files that it could not scan completely.

        Runs once, and again after each failure. Raises UnavailableError.
        """
        async with self._verifying:
            if self._verified and not again:
                return
            try:
                await self.refresh()
                await self._require_alerts()
            except UnavailableError:
                self._fail()
                raise
            self._verified, self._failures, self._backs_off_until = True, 0, 0.0

    async def refresh(self) -> None:
        """Ask for VERSION and keep the answer. Raises UnavailableError, also when the answer makes no sense."""
        with clamd_calls(self.address):
            async with asyncio.timeout(SELF_TEST_TIMEOUT):
                engine = (await ask(self.address, "VERSION")).decode()
        if not engine or engine.endswith("ERROR"):
            raise UnavailableError(Dependency.CLAMD, f"{self.address} does not say what it is: {engine!r}")
        self.engine = engine

    def database_date(self) -> datetime | None:
        """Return the date of its signatures from its last answer; None when the answer holds none.

        clamd writes its host's local time without a zone. Containers run in UTC.
        """
        _, _, date = self.engine.rpartition("/")
        try:
            return datetime.strptime(date, "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
        except ValueError:
            return None

    async def scratch_for(self, size: int) -> Path | None:
        """Return the folder for a file of `size` bytes that it may be handed a descriptor of; None to stream it.

        It is asked once, and again after a failure: it accepts a size by saying nothing for PROBE_TIMEOUT. A unix
        socket may lead to another machine, so that no descriptor arrives. Raises UnavailableError.
        """
        if self._scratch is None or not self.address.path:
            return None
        if self._admitted is None:
            finding = None
            if await self.accepts(self._largest):
                with suppress(UnavailableError), clamd_calls(self.address):
                    async with asyncio.timeout(SELF_TEST_TIMEOUT):
                        reply = await fildes(self.address, source_of(too_deep()), len(too_deep()), self._scratch)
                        finding = read_reply(reply).code
            self._admitted = self._largest if finding is Code.UNSCANNABLE else 0
            log.info("clamd.descriptors", clamd=str(self.address), largest=self._admitted)
        return self._scratch if size <= self._admitted else None

    async def accepts(self, size: int) -> bool:
        """Return whether its StreamMaxLength admits `size` bytes. Raises UnavailableError."""
        with clamd_calls(self.address):
            return await accepts(self.address, size, timeout=PROBE_TIMEOUT)

    async def alerts_encrypted(self) -> bool:
        """Return whether it reports an encrypted archive. Raises UnavailableError."""
        return read_reply(await self._scan_test_file(encrypted())).code is Code.ENCRYPTED

    async def _require_alerts(self) -> None:
        """Raise UnavailableError unless clamd reports an archive that is nested too deeply to scan."""
        finding = read_reply(await self._scan_test_file(too_deep()))
        if finding.verdict is Verdict.CLEAN:
            log.error("clamd.not_verified", clamd=str(self.address), set_in_clamd_conf="AlertExceedsMax yes")
            raise UnavailableError(
                Dependency.CLAMD, f"{self.address} calls clean what it has not looked into: set AlertExceedsMax yes"
            )
        if finding.verdict is Verdict.ERROR:
            raise UnavailableError(Dependency.CLAMD, f"{self.address} gave no verdict: {finding.signature!r}")

    async def _scan_test_file(self, content: bytes) -> Reply:
        with clamd_calls(self.address):
            async with asyncio.timeout(SELF_TEST_TIMEOUT):
                return await instream(self.address, source_of(content))

    def _fail(self) -> None:
        """Require a new self-test, and try the other scanners first for a while."""
        self._verified, self._admitted = False, None
        self._backs_off_until = time.monotonic() + min(MAX_BACKOFF, FIRST_BACKOFF * 2**self._failures)
        self._failures = min(self._failures + 1, 10)
