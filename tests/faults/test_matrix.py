"""Every dependency, in every way that it fails, in every phase of the work: `matrix.csv` says what must come of it.

docs/failures.md shows the table and explains its words. To add a dependency, add its rows and its entries in FAULTS.
Postgres has a server and a test of its own, as its faults are the whole server's.
"""

import asyncio
import csv
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from deploy.local.postgres import Postgres
from media.asset import AssetType
from tests.conftest import Scanner
from tests.faults.matrix_faults import EVERY, FAULTS, MakeFault, answers, web_server
from tests.faults.matrix_rigs import (
    REACHES,
    SOURCES,
    Cell,
    endure,
    queue_of,
    resume,
    run_cells,
    start_rig,
    until_beat,
    until_waiting,
)
from tests.faults.postgres_faults import PostgresFaults
from tests.faults.proxied_services import ProxiedServices
from tests.faults.sample_uploads import PDF, Kind, Upload, send_all

MATRIX = Path(__file__).with_name("matrix.csv")
SAMPLE = {
    ("postgres", "wrong answers", "claim"),
    ("postgres", "flapping", "commit"),
    ("postgres", "locked", "drain"),
    ("s3", "slow", "heartbeat"),
    ("s3", "down", "drain"),
    ("sqs", "read-only", "commit"),
    ("sqs", "black hole", "work"),
    ("clamd", "full", "claim"),
    ("clamd", "flapping", "work"),
    ("mediaconvert", "refuses", "claim"),
    ("credentials", "wrong answers", "poll"),
}
"""Cells of the default run. The whole matrix is `-m soak`."""
RIGS = 3
"""Stacks on which cells are tried side by side."""
LASTS = 8.0
"""Seconds of a fault: two beats of the heartbeat, with the visibility timeout of these tests."""
UPLOADS = 6
PHASES = ("poll", "claim", "work", "commit", "heartbeat", "drain")


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What can be made to fail."""

    services: ProxiedServices
    postgres: PostgresFaults


def at_proxy(make: MakeFault, dependencies: Dependencies) -> AbstractAsyncContextManager[None]:
    """Make a fault of the network to Postgres."""
    return make(dependencies.services.postgres)


@asynccontextmanager
async def refuses(dependencies: Dependencies) -> AsyncIterator[None]:
    await dependencies.postgres.change_password("another")
    try:
        await dependencies.postgres.end_sessions()
        yield
    finally:
        await dependencies.postgres.change_password()


@asynccontextmanager
async def read_only(dependencies: Dependencies) -> AsyncIterator[None]:
    await dependencies.postgres.become_read_only()
    try:
        yield
    finally:
        await dependencies.postgres.promote_another()


POSTGRES_FAULTS: dict[str, Callable[[Dependencies], AbstractAsyncContextManager[None]]] = {
    **{fault: partial(at_proxy, make) for fault, make in EVERY.items()},
    "refuses": refuses,
    "read-only": read_only,
    "wrong answers": partial(at_proxy, answers(web_server)),
    "full": lambda dependencies: dependencies.postgres.full(),
    "locked": lambda dependencies: dependencies.postgres.locked(),
}


def cells() -> Iterator[Cell]:
    with MATRIX.open(newline="") as table:
        for row in csv.DictReader(table):
            for phase in PHASES:
                expected, _, more = row[phase].partition(" + ")
                yield Cell(row["dependency"], row["fault"], phase, expected, 1 + int(more or 0))


def parameters(cells: Iterable[Cell]) -> list[ParameterSet]:
    """Return parameters of a test: all cells that make sense, those outside the sample for long runs only."""
    sampled = {cell: (cell.dependency, cell.fault, cell.phase) in SAMPLE for cell in cells if cell.expected != "-"}
    return [
        pytest.param(cell, id=str(cell), marks=() if is_in else pytest.mark.soak) for cell, is_in in sampled.items()
    ]


def test_every_fault_of_the_table_can_be_made() -> None:
    known = {("postgres", fault) for fault in POSTGRES_FAULTS}
    known |= {(dependency, fault) for dependency, faults in FAULTS.items() for fault in faults}
    assert {(cell.dependency, cell.fault) for cell in cells() if cell.expected != "-"} == known
    faults = {cell.fault for cell in cells()}
    assert {(cell.dependency, cell.fault) for cell in cells()} == {
        (dependency, fault) for dependency in ("postgres", *FAULTS) for fault in faults
    }, "what makes no sense says why"


def test_the_sample_meets_every_dependency_fault_and_phase() -> None:
    assert {(cell.dependency, cell.fault, cell.phase) for cell in cells() if cell.expected != "-"} >= SAMPLE
    for number, values in enumerate((("postgres", *FAULTS), POSTGRES_FAULTS, PHASES)):
        assert {cell[number] for cell in SAMPLE} == set(values)


@pytest.fixture
async def dependencies(failing_services: ProxiedServices, own_postgres: PostgresFaults) -> AsyncIterator[Dependencies]:
    yield Dependencies(failing_services, own_postgres)
    await own_postgres.heal()


async def begin(dependencies: Dependencies, phase: str, held: AsyncExitStack) -> list[Upload]:
    """Upload, and let the consumer come as far as the phase. It goes on when `held` is closed."""
    services = dependencies.services
    sqs, s3 = services.aws.sqs.gate, services.aws.s3.gate
    if phase == "poll":
        return []
    if phase == "claim":
        services.aws.sqs.hold("ReceiveMessage local-media-uploads")
        held.callback(sqs.open)
        await until_waiting(sqs, 1)
        return await send_all(services, [PDF] * UPLOADS, duplicates=0)
    services.aws.s3.hold(SOURCES)
    held.callback(s3.open)
    uploads = await send_all(services, [PDF] * UPLOADS, duplicates=0)
    await until_waiting(s3, UPLOADS)  # each claim has been answered
    if phase == "commit":
        holder = await held.enter_async_context(services.db.acquire())
        await held.enter_async_context(holder.transaction())
        await holder.execute("SELECT FROM stages FOR UPDATE")
        s3.open()
        waiting = (
            "count(*) > 0 FROM pg_stat_activity WHERE application_name LIKE 'media-%' AND wait_event_type = 'Lock'"
        )
        await services.until(waiting, deadline=REACHES)
    return uploads


@pytest.mark.parametrize("cell", parameters(cell for cell in cells() if cell.dependency == "postgres"))
async def test_work_goes_on_after_every_fault_of_postgres(dependencies: Dependencies, cell: Cell) -> None:
    services, daemon = dependencies.services, dependencies.services.daemon()
    try:
        await daemon.start()
        await daemon.until_status(200)
        async with AsyncExitStack() as held:
            uploads = await begin(dependencies, cell.phase, held)
            async with POSTGRES_FAULTS[cell.fault](dependencies):
                if cell.phase == "drain":
                    await daemon.drain()
                elif cell.phase == "heartbeat":  # and nothing else of what it holds needs Postgres
                    await until_beat(services, daemon, queue_of(cell))
                await held.aclose()
                if cell.phase != "drain":
                    await endure(daemon, cell, LASTS)
        await resume(services, daemon, cell, uploads)
        await daemon.drain()
    finally:
        await daemon.kill()


@pytest.fixture(scope="module")
async def results(
    request: pytest.FixtureRequest,
    postgres_server: Postgres,
    clamd: Scanner,
    film: bytes,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[dict[Cell, "asyncio.Task[None]"]]:
    """Try the cells of this run, several at a time: they wait for most of their time."""
    wanted: list[Cell] = [
        cell
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.function is test_work_goes_on_after_every_fault
        and isinstance(cell := item.callspec.params["cell"], Cell)
    ]
    video = Kind(AssetType.VIDEO, "video/mp4", "v.mp4", film)
    async with AsyncExitStack() as stack:
        starting = [
            start_rig(postgres_server, clamd, video, tmp_path_factory.mktemp("rig"))
            for _ in range(min(RIGS, len(wanted)))
        ]
        rigs = await asyncio.gather(*map(stack.enter_async_context, starting))
        yield await stack.enter_async_context(run_cells(rigs, wanted))
        await asyncio.gather(*(rig.close() for rig in rigs))


@pytest.mark.parametrize("cell", parameters(cell for cell in cells() if cell.dependency != "postgres"))
async def test_work_goes_on_after_every_fault(results: dict[Cell, "asyncio.Task[None]"], cell: Cell) -> None:
    await results[cell]
