"""Keep clamd running with the best signatures there are, whatever happens to the places that they come from."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import structlog

from handlers.scan.clamd.instream import Address
from handlers.scan.signatures.bucket import SignatureSourceError
from handlers.scan.signatures.disk import SignatureDisk
from handlers.scan.signatures.signature_set import Manifest

log = structlog.get_logger(__name__)

LOOK_DEADLINE = 3600.0
"""Seconds for one source, its download included. A slow one delays neither scans nor the start with what is there."""
FIRST_PAUSE = 5.0
"""Seconds until the next try while there are no signatures, or after clamd ended. They double with each in a row."""
MAX_PAUSE = 600.0
SILENT = 60.0
"""Seconds of a first look without a result after which clamd's address says that there is none yet."""
COMMAND_DEADLINE = 5.0
"""Seconds for a client to send its command."""
STABLE = 120.0
"""Seconds after which a clamd that ends is started again at once."""


class SignatureSource(Protocol):
    """A place that signatures come from. Both methods raise SignatureSourceError."""

    @property
    def name(self) -> str:
        """Its name in the log."""

    async def look(self) -> Manifest:
        """Return the set that it has now."""

    async def collect(self, manifest: Manifest, disk: SignatureDisk) -> None:
        """Put this set's files into `disk.incoming`."""


class SignatureScanner(Protocol):
    """clamd, as `ClamdProcess` runs it. `start` and `reload` return what went wrong, or nothing."""

    async def start(self) -> str: ...

    async def wait(self) -> int: ...

    async def reload(self) -> str: ...

    async def stop(self) -> None: ...


class SignatureKeeper:
    """Looks every `interval` seconds for a newer set. `sources` are asked in order; those after the first only when
    there is nothing on the disk.

    `stand_in` answers at clamd's address while there is no clamd, with the reason.
    """

    def __init__(
        self,
        disk: SignatureDisk,
        sources: Sequence[SignatureSource],
        scanner: SignatureScanner,
        stand_in: "StandIn",
        *,
        interval: float,
    ) -> None:
        self._disk = disk
        self._sources = sources
        self._scanner = scanner
        self._stand_in = stand_in
        self._interval = interval
        self._refused: set[str] = set()
        """Sets that clamd could not load."""

    async def run(self) -> None:
        """Keep clamd running until canceled."""
        self._disk.open()
        if self._disk.current:
            log.info("signatures.found", set=self._disk.current.id, age_days=self._disk.current.age_days())
        pause = FIRST_PAUSE
        try:
            while True:
                began = asyncio.get_running_loop().time()
                if reason := await self._start():
                    log.error("signatures.none", reason=reason, tried_again_in=pause)
                    async with self._stand_in.answering(reason):
                        await asyncio.sleep(pause)
                else:
                    await self._watch()
                    if asyncio.get_running_loop().time() - began > STABLE:
                        pause = FIRST_PAUSE
                        continue
                    await asyncio.sleep(pause)
                pause = min(MAX_PAUSE, pause * 2)
        finally:
            await self._scanner.stop()

    async def _start(self) -> str:
        """Start clamd with the best set that it can load. Returns why there is none, or nothing.

        A set that cannot be loaded gives way to another one, and stays on the disk: clamd may have failed for another
        reason, such as its memory.
        """
        if self._disk.current is None:
            async with asyncio.TaskGroup() as group:
                looking = group.create_task(self.refresh())
                if not (await asyncio.wait({looking}, timeout=SILENT))[0]:
                    async with self._stand_in.answering("the sources have not answered yet"):
                        await asyncio.wait({looking})
            if reason := looking.result():
                return reason
        failed: dict[str, str] = {}
        while current := self._disk.current:
            if not (reason := await self._scanner.start()):
                self._refused -= {current.id}
                return ""
            log.error("signatures.not_loaded", set=current.id, reason=reason)
            failed[current.id] = reason
            self._refused.add(current.id)
            if not (others := self._disk.others(failed.keys())):
                await self.refresh()  # a source may have a newer one
                if self._disk.current != current:
                    continue
                return reason
            self._disk.activate(others[0])
        return "there are no signatures"

    async def _watch(self) -> None:
        """Look for newer sets until clamd ends."""
        ended = asyncio.ensure_future(self._scanner.wait())
        try:
            while not ended.done():
                looking = asyncio.ensure_future(self.refresh(self._scanner))
                try:
                    await asyncio.wait({ended, looking}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    looking.cancel()
                    await asyncio.wait({looking})
                if not looking.cancelled():
                    looking.result()
                await asyncio.wait({ended}, timeout=self._interval)
            log.error("clamd.ended", status=ended.result())
        finally:
            ended.cancel()

    async def refresh(self, running: SignatureScanner | None = None) -> str:
        """Take the newest set that a source has. Returns why there is none that is better, or nothing.

        With a running clamd it must load the set, or the one before stays.
        """
        reasons = []
        before = self._disk.current
        for source in self._sources[:1] if self._loadable() else self._sources:
            try:
                async with asyncio.timeout(LOOK_DEADLINE):
                    reason = await self._take(source)
            except SignatureSourceError as error:
                reason = str(error)
            except TimeoutError:
                reason = f"it was not done after {LOOK_DEADLINE:.0f} s"
            except Exception as error:  # a full disk, mostly; nothing unforeseen may end the scanner
                log.exception("signatures.unforeseen")
                reason = f"{type(error).__name__}: {error}"
            following = self._disk.current
            if following and following != before and running and (wrong := await running.reload()) and before:
                log.error("signatures.not_loaded", set=following.id, reason=wrong, kept=before.id)
                self._refused.add(following.id)
                self._disk.activate(before)
            elif following and following != before:
                self._disk.prune()
                if running:
                    log.info("signatures.loaded", set=following.id, age_days=following.age_days())
            if not reason:
                return ""
            age = before.age_days() if before else None
            log.warning("signatures.source_failed", source=source.name, reason=reason, age_days=age)
            reasons.append(f"{source.name}: {reason}")
        return "; ".join(reasons)

    async def _take(self, source: SignatureSource) -> str:
        """Make the source's set the current one, if it is better. Returns why it is not used, or nothing."""
        held = self._disk.current
        offered = await source.look()
        if held and offered.id == held.id:
            log.info("signatures.current", source=source.name, set=held.id, age_days=held.age_days())
            return ""
        if offered.id in self._refused:
            return f"clamd cannot load its set {offered.id}"
        if reason := offered.regression(self._loadable()):
            return reason
        self._disk.empty_incoming()
        await source.collect(offered, self._disk)
        if reason := self._disk.adopt(offered):
            return reason
        self._disk.activate(offered)
        log.info("signatures.adopted", source=source.name, set=offered.id, versions=dict(offered.versions))
        return ""

    def _loadable(self) -> Manifest | None:
        """Return the current set, unless clamd could not load it."""
        held = self._disk.current
        return held if held and held.id not in self._refused else None


class StandIn(Protocol):
    """What answers at clamd's address while there is no clamd."""

    def answering(self, reason: str) -> AbstractAsyncContextManager[None]:
        """Say so to whoever asks, within the block."""


class Placeholder:
    """Answers every command with an error that says why there is no clamd. `notice` is a file for the health check.

    An answer that ends with ERROR is a verdict for nobody: a scan stays undone, and the consumer is not ready.
    """

    def __init__(self, address: Address, notice: Path) -> None:
        self._address = address
        self._notice = notice

    @asynccontextmanager
    async def answering(self, reason: str) -> AsyncIterator[None]:
        """Listen at clamd's address within the block. An address that is taken is left alone."""
        text = f"no signatures: {reason}"[:1000].replace("\0", " ")
        self._notice.write_text(text + "\n")

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(COMMAND_DEADLINE):
                    await reader.read(4096)  # a connection that is closed before its command is read is reset
                    writer.write(f"{text} ERROR\0".encode())
                    await writer.drain()
            writer.close()

        try:
            server = await (
                asyncio.start_unix_server(answer, self._address.path)
                if self._address.path
                else asyncio.start_server(answer, self._address.host, self._address.port)
            )
        except OSError as error:
            log.warning("signatures.silent", clamd=str(self._address), error=str(error))
            yield
        else:
            async with server:
                yield
        finally:
            self._notice.unlink(missing_ok=True)
