"""Rigs for the matrix: stacks side by side, each with a consumer that lives through one cell after the other."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from deploy.local import emulator, ports, topology
from deploy.local import postgres as postgres_part
from deploy.local.postgres import Postgres
from tests.conftest import TEMPLATE, Scanner
from tests.faults.fault_proxies import Gate, TcpProxy
from tests.faults.matrix_faults import FAULTS, Proxy, credentials_source
from tests.faults.proxied_services import RESUMES, Daemon, ProxiedServices, proxied_services
from tests.faults.sample_uploads import PDF, PNG, Kind, Upload, assert_consistent, send_all, wait_until_all_ended

LASTS = 3.0
"""Seconds of a fault, at least. What a phase waits for comes first."""
REACHES, ENDS = 30.0, 60.0
"""Seconds within which the work is in its phase, and after which all work has ended."""
VISIBILITY = 10.0
"""Seconds after which the messages of a consumer that was killed are visible, and can be purged."""
SOURCES = "/uploads/"
"""The path of the requests for the uploaded objects. Held back, they hold the work on it."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of the matrix."""

    dependency: str
    fault: str
    phase: str
    expected: str
    """One of the words that docs/failures.md explains."""
    attempts: int
    """Attempts of a stage that may count."""

    def __str__(self) -> str:
        return f"{self.dependency}-{self.fault}-{self.phase}".replace(" ", "_")


async def until_waiting(gate: Gate, number: int) -> None:
    """Wait until as many requests wait at a gate. Raises TimeoutError."""
    async with asyncio.timeout(REACHES):
        while gate.waiting < number:  # noqa: ASYNC110 - they come from another process
            await asyncio.sleep(0.05)


async def until_beat(services: ProxiedServices, daemon: Daemon, queue: str) -> None:
    """Wait for an extension of what is held."""

    def beats() -> int:
        asked = services.aws.sqs.seen[queue, "ChangeMessageVisibilityBatch"]
        return asked + daemon.log.read_text().count("heartbeat.failed")  # which may send nothing

    before = beats()
    async with asyncio.timeout(REACHES):
        while beats() == before:  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(0.2)


async def endure(daemon: Daemon, cell: Cell, seconds: float) -> None:
    """Let a fault last, for `seconds` at least, and check what the consumer says of itself meanwhile."""
    ends = time.monotonic() + seconds
    if cell.expected == "waits":
        await daemon.until_status(503)
    while (left := ends - time.monotonic()) > 0:
        status, text = await daemon.read("readyz")
        assert status == 200 or cell.expected != "goes on", text
        await asyncio.sleep(min(left, 0.1))
    assert await daemon.get("livez") == 200


async def resume(services: ProxiedServices, daemon: Daemon, cell: Cell, uploads: list[Upload]) -> None:
    """Check that the consumer works again after a fault, has lost nothing, and counts no attempt too many."""
    if cell.phase == "drain":
        await daemon.start()
    await daemon.until_status(200, RESUMES)
    another = await send_all(services, [PNG], duplicates=0)
    await wait_until_all_ended(services, ENDS)
    await assert_consistent(services, uploads + another)
    assert await services.db.fetchval("SELECT max(attempt - forgiven) FROM stages") <= cell.attempts


@dataclass(slots=True)
class Rig:
    """Services, and a consumer that uses them."""

    services: ProxiedServices
    credentials: TcpProxy
    daemon: Daemon
    film: Kind

    def proxy(self, dependency: str) -> Proxy:
        proxies: dict[str, Proxy] = {
            "s3": self.services.aws.s3,
            "sqs": self.services.aws.sqs,
            "clamd": self.services.clamd,
            "mediaconvert": self.services.mediaconvert_proxy,
            "credentials": self.credentials,
        }
        return proxies[dependency]

    def _tcp_proxy(self, dependency: str) -> TcpProxy:
        proxy = self.proxy(dependency)
        assert isinstance(proxy, TcpProxy)
        return proxy

    async def run(self, cell: Cell) -> None:
        """Try one cell. After a failure the next one begins with another consumer."""
        try:
            if self.daemon.process is None:
                await self.daemon.start()
            await self.services.db.execute("TRUNCATE assets CASCADE")
            await self.services.purge()
            await self.daemon.until_status(200, REACHES)
            await self._fail_and_resume(cell)
        except BaseException:
            await self.daemon.kill()
            self.daemon = self.services.daemon()
            self.services.aws.s3.gate.open()
            self.services.aws.sqs.gate.open()
            await asyncio.sleep(VISIBILITY)
            raise

    async def _fail_and_resume(self, cell: Cell) -> None:
        services, kinds = self.services, [self.film] if cell.dependency == "mediaconvert" else [PDF, PNG]
        async with AsyncExitStack() as held:
            uploads = [] if cell.phase == "poll" else await self._reach(cell, kinds, held)
            async with FAULTS[cell.dependency][cell.fault](self.proxy(cell.dependency)):
                if cell.phase == "poll":
                    uploads = await send_all(services, kinds, duplicates=0)
                elif cell.phase == "heartbeat":
                    await until_beat(services, self.daemon, queue_of(cell))
                elif cell.phase == "drain":
                    await self.daemon.drain()
                await held.aclose()
                if cell.phase != "drain":
                    await endure(self.daemon, cell, LASTS)
        await resume(services, self.daemon, cell, uploads)

    async def _reach(self, cell: Cell, kinds: list[Kind], held: AsyncExitStack) -> list[Upload]:
        """Upload, and bring the work into the phase. `held` lets it go on."""
        aws, queue = self.services.aws, queue_of(cell)
        aws.sqs.hold(f"ReceiveMessage {queue}")
        async with asyncio.timeout(REACHES):
            await until_waiting(aws.sqs.gate, 1)
            uploads = await send_all(self.services, kinds, duplicates=0)
            while not (await self.services.depths())[queue.removeprefix("local-media-")]:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.05)
            if cell.phase == "claim":
                await held.enter_async_context(self._blocked("LOCK TABLE stages IN ACCESS EXCLUSIVE MODE"))
                aws.sqs.gate.open()
                await self._until_blocked()
            elif cell.phase == "work" and cell.dependency in {"clamd", "mediaconvert"}:
                held.enter_context(self._amid_call(cell.dependency))
                aws.sqs.gate.open()
                await until_waiting(self._tcp_proxy(cell.dependency).gate, 1)
            else:
                aws.s3.hold(SOURCES)
                held.callback(aws.s3.gate.open)
                aws.sqs.gate.open()
                await until_waiting(aws.s3.gate, 1)
            if cell.phase == "commit":
                await held.enter_async_context(self._blocked("SELECT FROM stages FOR UPDATE"))
                aws.s3.gate.open()
                await self._until_blocked()
        return uploads

    @asynccontextmanager
    async def _blocked(self, statement: str) -> AsyncIterator[None]:
        """Hold rows or a table, so that a claim or a commit waits."""
        async with self.services.db.acquire() as connection, connection.transaction():
            await connection.execute(statement)
            yield

    async def _until_blocked(self) -> None:
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        while not await self.services.db.fetchval(waiting):  # noqa: ASYNC110 - it is in the database
            await asyncio.sleep(0.05)

    @contextlib.contextmanager
    def _amid_call(self, dependency: str) -> Iterator[None]:
        proxy = self._tcp_proxy(dependency)
        proxy.gated = b"zINSTREAM" if dependency == "clamd" else b"POST"
        proxy.gate.close()
        try:
            yield
        finally:
            proxy.gate.open()

    async def close(self) -> None:
        """End the consumer, which must still do so in order."""
        if self.daemon.process and self.daemon.process.returncode is None:
            try:
                await self.daemon.drain()
            finally:
                await self.daemon.kill()


def queue_of(cell: Cell) -> str:
    return "local-media-transcodes" if cell.dependency == "mediaconvert" else "local-media-uploads"


@asynccontextmanager
async def start_rig(postgres: Postgres, clamd: Scanner, film: Kind, folder: Path) -> AsyncIterator[Rig]:
    """Start an emulator, make a database, and put all behind proxies. The consumer starts with the first cell."""
    name = f"rig_{uuid4().hex}"
    await postgres_part.create_database(postgres, name, template=TEMPLATE)
    started = await emulator.start(folder, ports.free_port(), folder)
    try:
        names = await topology.apply(started.url, [])
        async with (
            credentials_source() as (credentials, address),
            proxied_services(
                started.url, started.client_env(), names, postgres.dsn(name), clamd.address, folder, seed=4
            ) as services,
        ):
            for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                services.env.pop(key)
            services.env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = address
            rig = Rig(services, credentials, services.daemon(), film)
            yield rig
            await rig.close()
    finally:
        await started.child.stop()
        await postgres_part.drop_database(postgres, name)


@asynccontextmanager
async def run_cells(rigs: list[Rig], cells: list[Cell]) -> AsyncIterator[dict[Cell, "asyncio.Task[None]"]]:
    """Run cells on the rigs, as many at a time as there are rigs; yield the task of each."""
    free: asyncio.Queue[Rig] = asyncio.Queue()
    for rig in rigs:
        free.put_nowait(rig)

    async def run(cell: Cell) -> None:
        rig = await free.get()
        try:
            await rig.run(cell)
        finally:
            free.put_nowait(rig)

    tasks = {cell: asyncio.create_task(run(cell)) for cell in cells}
    try:
        yield tasks
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
