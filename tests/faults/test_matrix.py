"""Every dependency, in every way that it fails, in every phase of the work: `matrix.csv` says what must come of it.

docs/failures.md shows the table and explains its words. To add a dependency, add its rows and its entries in FAULTS.
"""

import asyncio
import csv
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.fault_proxies import Fault, hang_up
from tests.faults.postgres_faults import PostgresFaults
from tests.faults.proxied_services import Daemon, ProxiedServices
from tests.faults.sample_uploads import PDF, Upload, assert_consistent, send_all, wait_until_all_ended

MATRIX = Path(__file__).with_name("matrix.csv")
SAMPLE = {("postgres", "wrong answers", "claim"), ("postgres", "flapping", "commit"), ("postgres", "locked", "drain")}
"""Cells of the default run. The whole matrix is `-m soak`."""
LASTS = 8.0
"""Seconds of a fault: two beats of the heartbeat, with the visibility timeout of these tests."""
NOTICES, RESUMES, ENDS = 15.0, 10.0, 60.0
UPLOADS = 6
PHASES = {"poll": 0.0, "claim": 0.0, "work": 4.0, "commit": 0.5, "heartbeat": 4.0, "drain": 1.0}
"""Seconds of each call of S3: they decide how far the work is when the fault begins, and when it ends."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of the matrix."""

    dependency: str
    fault: str
    phase: str
    expected: str

    def __str__(self) -> str:
        return f"{self.dependency}-{self.fault}-{self.phase}".replace(" ", "_")


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What can be made to fail."""

    services: ProxiedServices
    postgres: PostgresFaults


@asynccontextmanager
async def proxy_fault(dependencies: Dependencies, fault: Fault) -> AsyncIterator[None]:
    dependencies.services.postgres.fault = fault
    yield
    dependencies.services.postgres.fault = Fault.NONE


@asynccontextmanager
async def slow(dependencies: Dependencies) -> AsyncIterator[None]:
    dependencies.services.postgres.delay = 0.3
    yield
    dependencies.services.postgres.delay = 0.0


@asynccontextmanager
async def refuses(dependencies: Dependencies) -> AsyncIterator[None]:
    await dependencies.postgres.change_password("another")
    await dependencies.postgres.end_sessions()
    yield
    await dependencies.postgres.change_password()


@asynccontextmanager
async def read_only(dependencies: Dependencies) -> AsyncIterator[None]:
    await dependencies.postgres.become_read_only()
    yield
    await dependencies.postgres.promote_another()


@asynccontextmanager
async def wrong_answers(dependencies: Dependencies) -> AsyncIterator[None]:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>\xe4</html>")

    dependencies.services.postgres.answer, dependencies.services.postgres.fault = page, Fault.ANSWERS
    yield
    dependencies.services.postgres.answer, dependencies.services.postgres.fault = hang_up, Fault.NONE


@asynccontextmanager
async def flapping(dependencies: Dependencies) -> AsyncIterator[None]:
    async def flap() -> None:
        while True:
            for fault in (Fault.CUT, Fault.NONE):
                dependencies.services.postgres.fault = fault
                await asyncio.sleep(0.7)

    task = asyncio.create_task(flap())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    dependencies.services.postgres.fault = Fault.NONE


FAULTS: dict[tuple[str, str], Callable[[Dependencies], AbstractAsyncContextManager[None]]] = {
    ("postgres", "down"): lambda dependencies: proxy_fault(dependencies, Fault.CUT),
    ("postgres", "slow"): slow,
    ("postgres", "black hole"): lambda dependencies: proxy_fault(dependencies, Fault.BLACK_HOLE),
    ("postgres", "refuses"): refuses,
    ("postgres", "read-only"): read_only,
    ("postgres", "wrong answers"): wrong_answers,
    ("postgres", "flapping"): flapping,
    ("postgres", "full"): lambda dependencies: dependencies.postgres.full(),
    ("postgres", "locked"): lambda dependencies: dependencies.postgres.locked(),
}


def cells() -> Iterator[Cell]:
    with MATRIX.open(newline="") as table:
        for row in csv.DictReader(table):
            for phase in PHASES:
                yield Cell(row["dependency"], row["fault"], phase, row[phase])


def test_every_fault_of_the_table_can_be_made() -> None:
    assert {(cell.dependency, cell.fault) for cell in cells()} == set(FAULTS)
    assert {(cell.dependency, cell.fault, cell.phase) for cell in cells()} >= SAMPLE


@pytest.fixture
async def dependencies(failing_services: ProxiedServices, own_postgres: PostgresFaults) -> AsyncIterator[Dependencies]:
    yield Dependencies(failing_services, own_postgres)
    await own_postgres.heal()


async def until_status(daemon: Daemon, status: int, deadline: float) -> None:
    async with asyncio.timeout(deadline):
        while await daemon.get("readyz") != status:  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(0.1)


async def begin(dependencies: Dependencies, phase: str) -> list[Upload]:
    """Upload, and let the consumer come as far as the phase."""
    services = dependencies.services
    services.aws.s3.delay = PHASES[phase]
    if phase == "poll":
        return []
    if phase == "claim":
        services.aws.sqs.fault = Fault.CUT
        return await send_all(services, [PDF] * UPLOADS, duplicates=0)
    uploads = await send_all(services, [PDF] * UPLOADS, duplicates=0)
    await services.until("count(*) > 0 FROM stages WHERE state = 'leased'", deadline=30)
    return uploads


async def hold(dependencies: Dependencies, daemon: Daemon, cell: Cell) -> None:
    """Let the fault last, and look at what the consumer says of itself."""
    dependencies.services.aws.sqs.fault = Fault.NONE
    if cell.phase == "drain":
        daemon.signal(signal.SIGTERM)
        assert await daemon.ended() == 0, daemon.log.read_text()[-3000:]
        return
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(LASTS))
        if cell.expected.startswith("waits"):
            group.create_task(until_status(daemon, 503, NOTICES))
    assert await daemon.get("livez") == 200


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(
            cell, id=str(cell), marks=() if (cell.dependency, cell.fault, cell.phase) in SAMPLE else pytest.mark.soak
        )
        for cell in cells()
    ],
)
async def test_work_goes_on_after_every_fault(dependencies: Dependencies, cell: Cell) -> None:
    services, daemon = dependencies.services, dependencies.services.daemon()
    try:
        await daemon.start()
        await until_status(daemon, 200, NOTICES)
        uploads = await begin(dependencies, cell.phase)
        async with FAULTS[cell.dependency, cell.fault](dependencies):
            await hold(dependencies, daemon, cell)
        services.aws.s3.delay = 0.0
        if cell.phase == "drain":
            await daemon.start()
        await until_status(daemon, 200, RESUMES)
        uploads += await send_all(services, [PDF], duplicates=0)
        await wait_until_all_ended(services, ENDS)
        await assert_consistent(services, uploads)
        counted = await services.db.fetchval("SELECT max(attempt - forgiven) FROM stages")
        assert counted <= (2 if cell.expected.endswith("+ 1") else 1)
        daemon.signal(signal.SIGTERM)
        assert await daemon.ended() == 0, daemon.log.read_text()[-3000:]
    finally:
        await daemon.kill()
