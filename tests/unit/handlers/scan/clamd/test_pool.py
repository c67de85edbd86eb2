"""Several scanners replace each other. Each is verified before its first scan, and gets no more scans than it takes."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from handlers.scan.clamd.client import Clamd
from handlers.scan.clamd.instream import Address, Source
from handlers.scan.clamd.monitor import OLD, ScannerMonitor
from handlers.scan.clamd.pool import ScannerPool
from handlers.scan.clamd.self_test import source_of
from handlers.scan.clamd.verdict import read_reply
from media.asset import Verdict
from media.errors import Dependency, UnavailableError
from media.telemetry import Metrics
from tests.unit.handlers.scan.clamd.fake_clamd import dies_mid_stream, fake_clamd, is_silent, read_all, says

CLEAN = says(b"stream: OK\0")
FILE = b"a file" * 100


async def verdict(scanners: ScannerPool) -> Verdict:
    return read_reply((await scanners.scan(source_of(FILE), len(FILE))).reply).verdict


async def test_dead_scanner_is_skipped(tmp_path: Path) -> None:
    dead = Clamd(Address(path=str(tmp_path / "nobody.sock")))
    async with fake_clamd(CLEAN) as fake:
        scanners = ScannerPool([dead, Clamd(fake.address)])
        assert await verdict(scanners) is Verdict.CLEAN
        assert dead.backing_off, "the next files do not wait for it"
        assert await verdict(scanners) is Verdict.CLEAN
        await scanners.ping()


async def test_all_dead_is_unavailable(tmp_path: Path) -> None:
    scanners = ScannerPool([Clamd(Address(path=str(tmp_path / name))) for name in "ab"])
    for attempt in (verdict(scanners), scanners.ping()):
        with pytest.raises(UnavailableError) as caught:
            await attempt
        assert caught.value.dependency is Dependency.CLAMD


async def test_a_file_that_kills_a_scanner_is_not_given_to_the_next_one() -> None:
    async with fake_clamd(dies_mid_stream) as bad, fake_clamd(CLEAN) as good:
        scanners = ScannerPool([Clamd(bad.address), Clamd(good.address)])
        assert await verdict(scanners) is Verdict.ERROR
        assert good.asked == 0
        assert await verdict(scanners) is Verdict.CLEAN, "the one that failed goes last"


async def test_scanner_that_hides_its_limits_is_not_used() -> None:
    async with fake_clamd(CLEAN, alerts=False) as fake:
        with pytest.raises(UnavailableError, match="AlertExceedsMax"):
            await verdict(ScannerPool([Clamd(fake.address)]))
        assert fake.asked == 0


async def test_repaired_scanner_is_used_again() -> None:
    async with fake_clamd(CLEAN, alerts=False) as fake:
        scanners = ScannerPool([Clamd(fake.address)])
        with pytest.raises(UnavailableError):
            await scanners.ping()
        fake.alerts = True
        await scanners.ping()
        assert await verdict(scanners) is Verdict.CLEAN


async def test_scanner_that_went_is_not_sent_the_next_file() -> None:
    async with fake_clamd(CLEAN) as fake:
        scanners = ScannerPool([Clamd(fake.address)])
        await scanners.ping()
        fake.alive = False
        with pytest.raises(UnavailableError, match="does not answer PING"):
            await verdict(scanners)
        assert not fake.asked
        fake.alive = True
        assert await verdict(scanners) is Verdict.CLEAN


async def test_error_of_a_scanner_that_fails_its_self_test_too_is_an_outage() -> None:
    async with fake_clamd(says(b"INSTREAM: Can't write to temporary file. ERROR\0")) as fake:
        scanners = ScannerPool([Clamd(fake.address)])
        assert await verdict(scanners) is Verdict.ERROR, "it scans others: the file may be why"
        fake.alerts = False
        with pytest.raises(UnavailableError):
            await verdict(scanners)


@pytest.mark.parametrize("alive", [True, False])
async def test_silent_scan_is_awaited_only_while_clamd_answers_ping(*, alive: bool) -> None:
    async with fake_clamd(is_silent, alive=alive) as fake:
        began = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            await Clamd(fake.address, timeout=5 if alive else 60).scan(source_of(FILE), len(FILE))
        waited = asyncio.get_running_loop().time() - began
    assert waited >= 5 if alive else waited < 20


class HeldScans:
    """Scans that read everything and reply when the test releases them."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.arrived = asyncio.Semaphore(0)

    async def behave(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.arrived.release()
        await read_all(reader)
        await self.released.wait()
        writer.write(b"stream: OK\0")


@pytest.mark.parametrize(("concurrency", "spool", "at_once"), [(3, 1 << 30, 3), (10, 2 * len(FILE), 2), (10, 1, 1)])
async def test_scans_at_once_are_limited(concurrency: int, spool: int, at_once: int) -> None:
    held = HeldScans()
    async with fake_clamd(held.behave) as fake:
        scanners = ScannerPool([Clamd(fake.address, concurrency=concurrency, spool=spool)])
        scans = [asyncio.ensure_future(verdict(scanners)) for _ in range(8)]
        for _ in range(at_once):
            await held.arrived.acquire()
        assert fake.busy == at_once
        held.released.set()
        assert await asyncio.gather(*scans) == [Verdict.CLEAN] * 8
        assert fake.most <= at_once


async def test_least_loaded_scanner_is_tried_first() -> None:
    held = HeldScans()
    async with fake_clamd(held.behave) as one, fake_clamd(held.behave) as other:
        scanners = ScannerPool([Clamd(one.address), Clamd(other.address)])
        scans = [asyncio.ensure_future(verdict(scanners)) for _ in range(6)]
        for _ in scans:
            await held.arrived.acquire()
        held.released.set()
        await asyncio.gather(*scans)
    assert (one.asked, other.asked) == (3, 3)


async def test_canceled_scan_frees_its_slot() -> None:
    held = HeldScans()
    async with fake_clamd(held.behave) as fake:
        clamd = Clamd(fake.address, concurrency=1, spool=1)
        first = asyncio.ensure_future(clamd.scan(source_of(FILE), len(FILE)))
        await held.arrived.acquire()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        held.released.set()
        assert read_reply(await clamd.scan(source_of(FILE), len(FILE))).verdict is Verdict.CLEAN
        assert clamd.load == 0


def monitor_of(clamd: Clamd, metrics: Metrics) -> ScannerMonitor:
    return ScannerMonitor(ScannerPool([clamd]), {"image": 50, "video": 5000}, 2000, metrics, interval=0.01)


async def logs_until(monitor: ScannerMonitor, event: str) -> list[dict[str, object]]:
    """Run the monitor until it logs this event, and return its log."""
    with capture_logs() as logs:
        await _run_until(monitor, lambda: any(entry["event"] == event for entry in logs))
    return [dict(entry) for entry in logs]


async def _run_until(monitor: ScannerMonitor, happened: Callable[[], bool]) -> None:
    running = asyncio.ensure_future(monitor.run())
    try:
        async with asyncio.timeout(10):
            while not happened():  # noqa: ASYNC110 - it only logs and sets a gauge: there is no event to wait for
                await asyncio.sleep(0)
    finally:
        running.cancel()


async def test_sizes_that_are_not_scanned_are_logged() -> None:
    async with fake_clamd(CLEAN, stream_limit=100) as fake:
        logs = await logs_until(monitor_of(Clamd(fake.address), Metrics()), "scanner.stream_limit")
    (limits,) = [entry for entry in logs if entry["event"] == "scanner.limits"]
    assert limits["not_scannable"] == {"video": 5000}
    (too_low,) = [entry for entry in logs if entry["event"] == "scanner.stream_limit"]
    assert too_low["raise_StreamMaxLength_to"] == 2000


async def test_unavailable_scanner_is_logged(tmp_path: Path) -> None:
    await logs_until(monitor_of(Clamd(Address(path=str(tmp_path / "nobody"))), Metrics()), "scanner.unavailable")


ODD = ["\udcff\udcfe garbage", "", "x" * 100_000, "COMMAND READ TIMED OUT ERROR"]


@pytest.mark.parametrize("version", ODD, ids=["no text", "nothing", "endless", "error"])
async def test_malformed_version_makes_a_scanner_unavailable(version: str) -> None:
    async with fake_clamd(CLEAN, version=version) as fake:
        await logs_until(monitor_of(Clamd(fake.address), Metrics()), "scanner.unavailable")
        asked = fake.asked
        with pytest.raises(UnavailableError):
            await verdict(ScannerPool([Clamd(fake.address)]))
        assert fake.asked == asked, "it is sent nothing"


async def test_monitor_survives_unforeseen_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unforeseen(_clamd: Clamd) -> None:
        monkeypatch.undo()
        raise ZeroDivisionError

    async with fake_clamd(CLEAN) as fake:
        monkeypatch.setattr(Clamd, "refresh", unforeseen)
        metrics = Metrics()
        await _run_until(monitor_of(Clamd(fake.address), metrics), lambda: age_in(metrics) != 0)


async def test_the_age_of_the_signatures() -> None:
    async with fake_clamd(CLEAN) as fake, fake_clamd(CLEAN, version="ClamAV 1.4.6") as undated:
        dated = Clamd(fake.address)
        scanners = ScannerPool([dated, Clamd(undated.address)])
        assert scanners.oldest_database() is None
        await scanners.ping()
        await dated.refresh()
        assert scanners.oldest_database() == datetime(2026, 11, 22, 8, tzinfo=UTC)


def age_in(metrics: Metrics) -> float:
    return metrics.registry.get_sample_value("media_scanner_database_age_seconds") or 0.0


async def test_age_without_a_date_is_nan() -> None:
    metrics = Metrics()
    metrics.database_age.set(0)
    async with fake_clamd(CLEAN, version="ClamAV 1.4.6") as fake:
        monitor = monitor_of(Clamd(fake.address), metrics)
        await _run_until(monitor, lambda: age_in(metrics) != 0)
    assert math.isnan(age_in(metrics))


async def test_old_signatures_are_logged() -> None:
    async with fake_clamd(CLEAN, version="ClamAV 1.4.6/26000/Sun Nov 15 08:00:00 2020") as fake:
        logs = await logs_until(monitor_of(Clamd(fake.address), Metrics()), "scanner.database_old")
    [warning] = [entry for entry in logs if entry["event"] == "scanner.database_old"]
    assert float(str(warning["days"])) > 365


def test_old_signatures_have_the_threshold_of_the_alert() -> None:
    rules = (Path(__file__).parents[5] / "deploy" / "prometheus" / "alerts.yaml").read_text()
    assert f"media_scanner_database_age_seconds[30m])) > {OLD / 86_400:.0f} * 86400" in rules


def test_addresses() -> None:
    assert str(Address.parse("tcp://clamd:3310")) == "tcp://clamd:3310"
    assert str(Address.parse("unix:///run/clamd.sock")) == "unix:///run/clamd.sock"
    odd = "/C#/a,b/100%d ?ä😀/s.sock"
    assert Address.parse(str(Address(path=odd))).path == odd
    assert "," not in str(Address(path=odd)), "several are comma-separated"
    for wrong in (
        "clamd:3310",
        "tcp://clamd",
        "unix://",
        "http://clamd:3310",
        "unix:///C#/s.sock",
        "unix://run/s.sock",
    ):
        with pytest.raises(ValueError, match="not a clamd address"):
            Address.parse(wrong)


def endless(size: int) -> Source:
    """`size` bytes in small pieces."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(size // 1000):
            yield bytes(1000)

    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
        yield pieces()

    return opened


async def test_every_byte_arrives_in_pieces_of_any_size() -> None:
    heard = []

    async def counts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(len(await read_all(reader)))
        writer.write(b"stream: OK\0")

    async with fake_clamd(counts) as fake:
        clamd = Clamd(fake.address)
        for source, size in ((endless(3_000_000), 3_000_000), (source_of(bytes(5_000_001)), 5_000_001)):
            assert read_reply(await clamd.scan(source, size)).verdict is Verdict.CLEAN
    assert heard == [3_000_000, 5_000_001]
