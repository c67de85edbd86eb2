"""Signatures from servers that misbehave, through our bucket, into a clamd that goes on scanning."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from handlers.process_tempdir import process_tempdir
from handlers.scan.signatures import keeper
from handlers.scan.signatures.bucket import SignatureBucket, SignatureSourceError
from handlers.scan.signatures.freshclam import Upstream
from handlers.scan.signatures.mirror import mirror as mirror_into_bucket
from handlers.scan.signatures.signature_set import Manifest, describe
from media.asset import ObjectVersion, Verdict
from tests.conftest import EmulatedAws
from tests.fakes.signature_mirror import SignatureMirror, Trouble, database, signature_mirror, unsigned_cvd
from tests.integration.scan.conftest import ScanStage
from tests.integration.scan.signature_programs import DEADLINE, mirror_program, scanner, scanner_program

NOBODY = "http://127.0.0.1:9"
BAD = [Trouble.RATE_LIMITED, Trouble.GARBAGE, Trouble.EMPTY, Trouble.FORGED]


@dataclass(frozen=True, slots=True)
class Place:
    """A prefix of its own in the bucket, a folder, and the server of a private database `own.hdb`."""

    server: SignatureMirror
    bucket: SignatureBucket
    folder: Path
    prefix: str
    settings: dict[str, Any]

    @property
    def private(self) -> Upstream:
        return Upstream(None, (f"{self.server.url}/own.hdb",))

    async def mirror(self, upstream: Upstream | None = None) -> str:
        """Do a round of the scheduled task, in an empty volume. Returns what went wrong."""
        with process_tempdir("volume-", self.folder) as volume:
            return await mirror_into_bucket(self.bucket, volume, upstream or self.private)

    async def publish(self, contents: dict[str, bytes]) -> Manifest:
        """Publish databases that no mirror would."""
        manifest = self.describe(contents)
        await self.bucket.publish(manifest, self.folder / manifest.id, await self.bucket.published())
        return manifest

    def describe(self, contents: dict[str, bytes]) -> Manifest:
        """Write databases to a folder that is named by their set."""
        with process_tempdir("set-", self.folder) as folder:
            for name, content in contents.items():
                (folder / name).write_bytes(content)
            manifest = describe(folder)
            assert manifest
            folder.rename(self.folder / manifest.id)
        return manifest


@pytest.fixture
async def server() -> AsyncIterator[SignatureMirror]:
    async with signature_mirror() as one:
        one.contents["own.hdb"] = database(1)
        yield one


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket's."""
    with tempfile.TemporaryDirectory(prefix="sig-") as name:
        yield Path(name)


@pytest.fixture
def place(
    server: SignatureMirror,
    folder: Path,
    scan_stage: ScanStage,
    emulator: EmulatedAws,
    monkeypatch: pytest.MonkeyPatch,
) -> Place:
    monkeypatch.setattr(keeper, "FIRST_PAUSE", 0.1)
    prefix = f"signatures-{uuid4().hex}/"
    bucket = SignatureBucket(scan_stage.storage, scan_stage.bucket, prefix)
    settings = {
        "output_bucket": scan_stage.bucket,
        "aws_region": emulator.region,
        "aws_endpoint_url": emulator.url,
        "signatures_prefix": prefix,
        "signatures_mirror": server.url,
    }
    return Place(server, bucket, folder, prefix, settings)


async def test_programs_mirror_and_load_a_newer_set_without_a_restart(place: Place, emulator: EmulatedAws) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        **emulator.client_env,
        "OUTPUT_BUCKET": emulator.topology.output_bucket,
        "MEDIA_SIGNATURES_PREFIX": place.prefix,
        "MEDIA_SIGNATURES_MIRROR": "none",
        "MEDIA_SIGNATURES_CUSTOM": f"{place.server.url}/own.hdb",
        "MEDIA_LOG_FORMAT": "json",
    }
    status, lines = await mirror_program(place.folder, environment)
    assert (status, lines[-1]["event"]) == (0, "signatures.checked")
    async with scanner_program(place.folder, environment) as running:
        assert (await running.until("signatures.adopted"))["source"] == "bucket"
        assert await running.versions() == {1}
        place.server.contents["own.hdb"] += database(2)
        assert not await place.mirror()
        await running.until("signatures.loaded")
        assert await running.versions() == {1, 2}
        assert not [line for line in running.lines if line["event"] == "clamd.ended"]
        place.server.trouble = Trouble.RATE_LIMITED
        status, lines = await mirror_program(place.folder, environment)
        assert (status, lines[-1]["event"]) == (1, "signatures.mirror_failed")


@pytest.mark.parametrize("trouble", BAD)
async def test_server_in_trouble_changes_nothing_and_every_task_starts(trouble: Trouble, place: Place) -> None:
    assert not await place.mirror()
    before = await place.bucket.look()
    place.server.contents["own.hdb"] = database(2)
    place.server.trouble = trouble
    for upstream in (Upstream(place.server.url), Upstream(place.server.url, place.private.custom), place.private):
        assert "freshclam, status" in await place.mirror(upstream)
    assert await place.bucket.look() == before
    async with scanner(place.folder, **place.settings) as running:
        assert await running.versions() == {1}


async def test_one_private_database_that_fails_holds_up_no_other(place: Place) -> None:
    contents = place.server.contents
    contents["aaa.hdb"] = database(1)
    both = Upstream(None, (f"{place.server.url}/aaa.hdb", f"{place.server.url}/own.hdb"))
    assert not await place.mirror(both)
    del contents["aaa.hdb"]
    contents["own.hdb"] = database(2)
    assert "aaa.hdb: freshclam, status" in await place.mirror(both)
    place_of = {file.name: file.sha256 for file in (await place.bucket.look()).files}
    known = {file.name: file.sha256 for file in place.describe({"aaa.hdb": database(1), "own.hdb": database(2)}).files}
    assert place_of == known
    # One that is configured no more is dropped, and one that could not be had yet holds back the set.
    assert not await place.mirror()
    assert [file.name for file in (await place.bucket.look()).files] == ["own.hdb"]
    contents["own.hdb"] = database(1)
    assert "aaa.hdb: freshclam, status" in await place.mirror(both)
    assert [file.sha256 for file in (await place.bucket.look()).files] == [known["own.hdb"]]


async def test_set_that_has_lost_an_official_database_is_not_published(place: Place) -> None:
    before = await place.publish({"daily.cvd": unsigned_cvd(3), "own.hdb": database(2)})
    assert await place.mirror() == "not published: it has no daily"
    assert (await place.bucket.look()).id == before.id


async def test_official_database_without_a_valid_signature_is_not_published(place: Place) -> None:
    """Even if it is in the bucket already, where freshclam has no reason to look at it again."""
    before = await place.publish({"main.cvd": unsigned_cvd(3), "daily.cvd": unsigned_cvd(3)})
    reason = await place.mirror(Upstream(place.server.url, place.private.custom))
    assert "not published: clamd ended" in reason
    assert "Can't verify database integrity" in reason
    assert (await place.bucket.look()).id == before.id


async def test_of_two_mirrors_at_the_same_time_the_later_one_gives_up(place: Place) -> None:
    assert not await place.mirror()
    seen = await place.bucket.published()
    place.server.contents["own.hdb"] = database(2)
    assert not await place.mirror()
    newest = await place.bucket.look()
    late = place.describe({"own.hdb": database(3)})
    with pytest.raises(SignatureSourceError, match="another mirror has published"):
        await place.bucket.publish(late, place.folder / late.id, seen)
    assert await place.bucket.look() == newest


@pytest.mark.parametrize("trouble", [Trouble.RATE_LIMITED, Trouble.GARBAGE])
async def test_task_without_any_signatures_waits_and_says_why(trouble: Trouble, place: Place) -> None:
    place.server.trouble = trouble
    async with scanner(place.folder, **place.settings) as running:
        await running.until("signatures.none")
    # In a volume in which it was refused, freshclam then ends with 0, without a database.
    async with scanner(place.folder, **place.settings) as running:
        told = await running.until("signatures.none")
        assert "bucket: no signatures were published yet; mirror: freshclam, status" in told["reason"]
        assert await running.verdict() is Verdict.ERROR
        assert (place.folder / "volume" / "waiting").read_text().startswith("no signatures: ")
        place.server.trouble = Trouble.NONE
        assert not await place.mirror()
        assert (await running.until("signatures.adopted"))["source"] == "bucket"
        assert await running.versions() == {1}
        assert not (place.folder / "volume" / "waiting").exists()


async def test_slow_server_holds_up_nobody_who_has_a_set(place: Place) -> None:
    assert not await place.mirror()
    place.server.trouble = Trouble.SLOW
    stuck = asyncio.create_task(place.mirror(Upstream(place.server.url)))
    async with scanner(place.folder, **place.settings) as running:
        assert await running.versions() == {1}
    async with asyncio.timeout(DEADLINE):
        await place.server.stalled.wait()
    assert not stuck.done()
    stuck.cancel()
    with suppress(asyncio.CancelledError):
        await stuck


async def test_scanner_starts_with_its_volume_when_nobody_answers(place: Place) -> None:
    assert not await place.mirror()
    async with scanner(place.folder, **place.settings) as running:
        assert await running.versions() == {1}
    place.server.trouble = Trouble.RATE_LIMITED
    async with scanner(place.folder, **place.settings | {"aws_endpoint_url": NOBODY}) as running:
        assert await running.versions() == {1}
        assert (await running.until("signatures.source_failed"))["source"] == "bucket"


async def test_scanner_asks_the_servers_itself_when_there_is_no_bucket(place: Place) -> None:
    alone = {"signatures_mirror": "none", "signatures_custom": place.private.custom}
    async with scanner(place.folder, **alone) as running:
        assert await running.versions() == {1}


async def test_image_or_volume_with_plain_databases_is_a_set_to_start_with(place: Place) -> None:
    (place.folder / "volume").mkdir()
    (place.folder / "volume" / "own.hdb").write_bytes(database(2))
    unreachable = {"aws_endpoint_url": NOBODY, "signatures_mirror": NOBODY}
    async with scanner(place.folder, **place.settings | unreachable) as running:
        assert await running.versions() == {2}


async def test_set_that_clamd_cannot_load_leaves_the_one_before(place: Place) -> None:
    good = await place.publish({"own.hdb": database(1)})
    async with scanner(place.folder, **place.settings) as running:
        assert await running.versions() == {1}
        bad = await place.publish({"own.hdb": database(2), "daily.cvd": unsigned_cvd(6)})
        told = await running.until("signatures.not_loaded")
        assert (told["set"], told["kept"]) == (bad.id, good.id)
        assert await running.versions() == {1}
    async with scanner(place.folder, **place.settings) as running:
        assert await running.versions() == {1}


async def test_first_set_that_cannot_be_loaded_is_replaced_by_the_next(place: Place) -> None:
    await place.publish({"own.hdb": b"no database\n"})
    async with scanner(place.folder, **place.settings) as running:
        await running.until("signatures.none")
        await place.publish({"own.hdb": database(2)})
        await running.until("signatures.adopted", 2)
        assert await running.versions() == {2}


async def test_damaged_object_in_the_bucket_is_not_adopted_and_mirrored_again(
    place: Place, scan_stage: ScanStage
) -> None:
    assert not await place.mirror()
    (file,) = (await place.bucket.look()).files
    key = f"{place.prefix}files/{file.sha256}/own.hdb"
    await scan_stage.storage.write(scan_stage.bucket, key, database(2)[: file.size], "application/octet-stream")
    async with scanner(place.folder, **place.settings) as running:
        told = await running.until("signatures.source_failed")
        assert told["reason"] == "own.hdb has another digest"
        # The next round finds nothing newer, and repairs it.
        assert not await place.mirror()
        await running.until("signatures.adopted")
        assert await running.versions() == {1}
    assert await scan_stage.storage.sha256(ObjectVersion(scan_stage.bucket, key)) == file.sha256
