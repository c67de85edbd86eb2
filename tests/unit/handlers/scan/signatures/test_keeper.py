"""A day, or a week, without a source of signatures: in virtual time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from handlers.scan.signatures.bucket import SignatureSourceError
from handlers.scan.signatures.disk import SignatureDisk
from handlers.scan.signatures.keeper import LOOK_DEADLINE, SignatureKeeper
from handlers.scan.signatures.signature_set import Manifest, describe
from tests.fakes.virtual_time import virtual_time

DAY = 86_400.0
INTERVAL = 600.0


def cvd(version: int, *, built_at: float = 1_700_000_000) -> bytes:
    """Return a header like a CVD's, whose signature nobody checks here."""
    return f"ClamAV-VDB:date:{version}:1:90:md5:signature:builder:{built_at:.0f}".encode().ljust(512) + b"content"


@dataclass(slots=True)
class FakeSource:
    """Offers a set, or does what `trouble` says."""

    folder: Path
    name: str = "bucket"
    trouble: Callable[[], Any] | None = None
    asked: int = 0

    def offer(self, daily: int) -> Manifest:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "daily.cvd").write_bytes(cvd(daily))
        (self.folder / "main.cvd").write_bytes(cvd(62))
        found = describe(self.folder)
        assert found
        return found

    async def look(self) -> Manifest:
        self.asked += 1
        if self.trouble and (waiting := self.trouble()):
            await waiting
        found = describe(self.folder) if self.folder.is_dir() else None
        if found is None:
            raise SignatureSourceError("nothing is there")
        return found

    async def collect(self, manifest: Manifest, disk: SignatureDisk) -> None:
        for file in manifest.files:
            (disk.incoming / file.name).write_bytes((self.folder / file.name).read_bytes())


@dataclass(slots=True)
class FakeClamd:
    """Loads what the disk's link names, unless a version is in `unloadable`. `running` is the daily version."""

    disk: Path
    unloadable: set[int] = field(default_factory=set)
    running: int = 0
    starts: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def load(self) -> str:
        found = describe(self.disk / "current")
        assert found
        if (version := found.versions["daily"]) in self.unloadable:
            return "Malformed database"
        self.running = version
        return ""

    async def start(self) -> str:
        self.starts += 1
        self.ended.clear()
        return self.load()

    async def wait(self) -> int:
        await self.ended.wait()
        return -9

    async def reload(self) -> str:
        return self.load()

    async def stop(self) -> None:
        self.running = 0


@dataclass(slots=True)
class FakeStandIn:
    reasons: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def answering(self, reason: str) -> AsyncIterator[None]:
        self.reasons.append(reason)
        yield


@dataclass(slots=True)
class Kept:
    """A keeper with its surroundings. A new one on the same disk is the next task."""

    root: Path
    source: FakeSource
    public: FakeSource
    clamd: FakeClamd
    stand_in: FakeStandIn = field(default_factory=FakeStandIn)

    @classmethod
    def on(cls, path: Path) -> "Kept":
        (path / "disk").mkdir(exist_ok=True, parents=True)
        return cls(
            path / "disk",
            FakeSource(path / "bucket"),
            FakeSource(path / "public", name="mirror"),
            FakeClamd(path / "disk"),
        )

    async def runs_for(self, seconds: float, meanwhile: Callable[[], Any] | None = None) -> list[Any]:
        """Run the keeper for this time; returns its log."""
        sources = [self.source, self.public]
        keeper = SignatureKeeper(SignatureDisk(self.root), sources, self.clamd, self.stand_in, interval=INTERVAL)
        with capture_logs() as lines:
            task = asyncio.create_task(keeper.run())
            await asyncio.sleep(seconds)
            assert not task.done(), task
            if meanwhile:
                meanwhile()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        return lines


def refused() -> None:
    raise SignatureSourceError("429 Too Many Requests")


def hangs() -> Any:
    return asyncio.Event().wait()


def breaks() -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("trouble", [refused, hangs, breaks])
def test_scanning_goes_on_for_a_day_without_sources_and_the_age_is_told(tmp_path: Path, trouble: Any) -> None:
    @virtual_time
    async def scenario() -> None:
        kept = Kept.on(tmp_path)
        kept.source.offer(5)
        await kept.runs_for(60)
        kept.source.trouble = kept.public.trouble = trouble
        for _ in range(3):  # tasks come and go meanwhile
            lines = await kept.runs_for(DAY / 3, lambda: seen.append(kept.clamd.running))
            told = [line for line in lines if line["event"] == "signatures.source_failed"]
            pause = INTERVAL + (LOOK_DEADLINE if trouble is hangs else 0)
            assert len(told) >= DAY / 3 // pause - 1
            assert all(line["age_days"] > 100 for line in told)
        assert seen == [5, 5, 5]
        assert kept.clamd.starts == 4  # one for each task: none was restarted
        assert not kept.stand_in.reasons
        kept.source.trouble = None
        kept.source.offer(6)
        await kept.runs_for(INTERVAL, lambda: seen.append(kept.clamd.running))
        assert seen[-1] == 6

    seen: list[int] = []
    scenario()


def test_task_with_nothing_waits_for_a_day_and_begins_when_there_is_a_set(tmp_path: Path) -> None:
    @virtual_time
    async def scenario() -> None:
        kept = Kept.on(tmp_path)
        kept.source.trouble = kept.public.trouble = refused

        def check() -> None:
            assert kept.clamd.starts == 0
            assert kept.stand_in.reasons[-1] == "bucket: 429 Too Many Requests; mirror: 429 Too Many Requests"
            # Every ten minutes in the end, and a few times more at the beginning.
            assert 140 < kept.source.asked < 160

        await kept.runs_for(DAY, check)
        kept.public.trouble = None
        kept.public.offer(7)
        await kept.runs_for(60, lambda: seen.append(kept.clamd.running))

    seen: list[int] = []
    scenario()
    assert seen == [7]


def test_slow_source_leaves_nobody_without_an_answer(tmp_path: Path) -> None:
    @virtual_time
    async def scenario() -> None:
        kept = Kept.on(tmp_path)
        kept.source.trouble = hangs
        await kept.runs_for(70)
        assert kept.stand_in.reasons == ["the sources have not answered yet"]

    scenario()


def test_public_mirror_is_not_asked_while_there_is_a_set(tmp_path: Path) -> None:
    @virtual_time
    async def scenario() -> None:
        kept = Kept.on(tmp_path)
        kept.source.offer(5)
        await kept.runs_for(60)
        kept.source.trouble = refused
        await kept.runs_for(DAY)
        assert kept.public.asked == 0

    scenario()


def test_older_set_or_one_without_a_database_is_not_taken(tmp_path: Path) -> None:
    @virtual_time
    async def scenario() -> None:
        kept = Kept.on(tmp_path)
        kept.source.offer(5)
        await kept.runs_for(60)
        kept.source.offer(4)
        lines = await kept.runs_for(60, lambda: seen.append(kept.clamd.running))
        assert "it is older: daily 4 before 5" in [line.get("reason") for line in lines]
        kept.source.offer(6)
        (kept.source.folder / "main.cvd").unlink()
        lines = await kept.runs_for(60, lambda: seen.append(kept.clamd.running))
        assert "it has no main" in [line.get("reason") for line in lines]

    seen: list[int] = []
    scenario()
    assert seen == [5, 5]


def test_set_that_cannot_be_loaded_is_refused_once_and_the_one_before_stays(tmp_path: Path) -> None:
    @virtual_time
    async def scenario() -> None:
        kept = Kept.on(tmp_path)
        kept.source.offer(5)
        await kept.runs_for(60)
        kept.clamd.unloadable = {6}
        kept.source.offer(6)
        lines = await kept.runs_for(DAY, lambda: seen.append(kept.clamd.running))
        assert [line["event"] for line in lines].count("signatures.not_loaded") == 1
        kept_on_disk = describe(kept.root / "current")
        assert kept_on_disk
        assert kept_on_disk.versions["daily"] == 5
        # A new task that has nothing else tries it, and then the one that is published after it.
        other = Kept.on(tmp_path / "other")
        other.source.offer(6)
        other.clamd.unloadable = {6}
        await other.runs_for(3600, lambda: seen.append(other.clamd.running))
        other.source.offer(7)
        await other.runs_for(3600, lambda: seen.append(other.clamd.running))

    seen: list[int] = []
    scenario()
    assert seen == [5, 0, 7]


def test_other_set_replaces_one_that_cannot_be_loaded_even_if_it_is_older(tmp_path: Path) -> None:
    @virtual_time
    async def scenario() -> None:
        kept = Kept.on(tmp_path)
        kept.clamd.unloadable = {6}
        kept.source.offer(6)
        await kept.runs_for(60)
        kept.source.trouble = refused
        kept.public.offer(5)
        await kept.runs_for(600, lambda: seen.append(kept.clamd.running))

    seen: list[int] = []
    scenario()
    assert seen == [5]


def test_sets_that_cannot_be_loaded_are_tried_again_later(tmp_path: Path) -> None:
    @virtual_time
    async def scenario() -> None:
        kept = Kept.on(tmp_path)
        for version in (5, 6):
            kept.source.offer(version)
            await kept.runs_for(60)
        kept.clamd.unloadable = {5, 6}  # clamd has too little memory, say
        await kept.runs_for(3600, lambda: seen.append(len(kept.stand_in.reasons)))
        assert kept.stand_in.reasons[-1] == "Malformed database"
        kept.clamd.unloadable = set()
        await kept.runs_for(60, lambda: seen.append(kept.clamd.running))

    seen: list[int] = []
    scenario()
    assert 5 < seen[0] < 20
    assert seen[1] in {5, 6}


def test_clamd_that_dies_is_started_again(tmp_path: Path) -> None:
    @virtual_time
    async def scenario() -> None:
        kept = Kept.on(tmp_path)
        kept.source.offer(5)

        async def die() -> None:
            for _ in range(10):
                await asyncio.sleep(300)
                kept.clamd.ended.set()

        dying = asyncio.create_task(die())
        await kept.runs_for(3600, lambda: seen.append(kept.clamd.running))
        await dying
        assert kept.clamd.starts == 11

    seen: list[int] = []
    scenario()
    assert seen == [5]


def test_damaged_set_gives_way_to_the_one_before(tmp_path: Path) -> None:
    @virtual_time
    async def scenario() -> None:
        kept = Kept.on(tmp_path)
        kept.source.offer(5)
        await kept.runs_for(60)
        kept.source.offer(6)
        await kept.runs_for(60)
        (kept.root / "current" / "daily.cvd").write_bytes(cvd(6)[:100])
        kept.source.trouble = refused
        await kept.runs_for(60, lambda: seen.append(kept.clamd.running))

    seen: list[int] = []
    scenario()
    assert seen == [5]


def test_only_two_sets_stay_on_the_disk(tmp_path: Path) -> None:
    @virtual_time
    async def scenario() -> None:
        kept = Kept.on(tmp_path)
        for version in range(5, 12):
            kept.source.offer(version)
            await kept.runs_for(60)

    scenario()
    assert len([path for path in (tmp_path / "disk" / "sets").iterdir() if path.is_dir()]) == 2


def test_age_is_that_of_the_newest_database() -> None:
    files = [
        {"name": f"{name}.cvd", "size": 1, "sha256": "0" * 64, "built_at": f"2026-01-0{day}T00:00:00Z"}
        for name, day in (("main", 1), ("daily", 3))
    ]
    assert Manifest.model_validate({"files": files}).age_days(datetime(2026, 1, 5, tzinfo=UTC)) == 2


@pytest.mark.parametrize("name", ["../x.cvd", "/etc/x.cvd", "a/b.cvd", "x.sh", ".cvd", "x.cvd\n", ""])
def test_manifest_cannot_name_a_file_elsewhere(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        Manifest.model_validate({"files": [{"name": name, "size": 1, "sha256": "0" * 64}]})
