"""Postgres is restored to an earlier moment, under load, by the runbook's own steps: no asset is lost or mixed up."""

import asyncio
import itertools
import os
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from PIL import Image

from deploy.local import emulator as emulator_part
from deploy.local import ports, tokens, topology
from deploy.local import postgres as postgres_part
from deploy.local.clamav import EICAR
from tests.conftest import Database, Scanner
from tests.faults.proxied_services import JWT_SECRET, Daemon, ProxiedServices, proxied_services
from tests.faults.sample_uploads import document
from tests.integration.operate.documentation import ROOT, blocks, run_command

RUNBOOK = ROOT / "docs" / "runbook.md"
CLIENTS = 6
BEFORE, AFTER = 25, 45
"""Uploads that have ended before the backup, and when the database is lost."""
OWNER = "dr-house"
ENDED = {"ready", "rejected", "failed"}
LOOK_PAUSE = 0.2


@dataclass(slots=True)
class Accepted:
    """An upload that was announced.

    It is `stored` once S3 took it, `deleted` once its owner asked for that, and `erased` once no object is left.
    """

    asset_id: UUID
    kind: str
    delivery: str
    color: tuple[int, int, int]
    ends: str
    url: str
    headers: dict[str, str]
    content: bytes
    stored: bool = False
    ended: bool = False
    deleted: bool = False
    erased: bool = False


def photo(color: tuple[int, int, int]) -> bytes:
    """Make a picture of one color, by which its renditions are told from those of others."""
    target = BytesIO()
    Image.new("RGB", (200, 150), color).save(target, "PNG")
    return target.getvalue()


@dataclass(slots=True)
class Load:
    """Clients that upload, look and delete, until the API is gone."""

    services: ProxiedServices
    http: aiohttp.ClientSession
    film: bytes
    api: str = ""
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    made: list[Accepted] = field(default_factory=list)
    ended: int = 0
    turn: asyncio.Condition = field(default_factory=asyncio.Condition)
    numbers: Any = field(default_factory=itertools.count)

    async def request(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {tokens.mint(JWT_SECRET, user=OWNER, role='service')}"}
        url = f"{self.api}/api/v1/media{path}"
        async with self.http.request(method, url, json=body, headers=headers, raise_for_status=True) as answer:
            return await answer.json() if answer.status != 204 else None

    async def run(self) -> None:
        """Upload until the database is lost. From then on nothing that fails is a surprise."""
        while not self.lost.is_set():
            try:
                await self._upload_one()
            except (aiohttp.ClientError, TimeoutError, OSError):
                if not self.lost.is_set():
                    raise

    async def _upload_one(self) -> None:
        one = await self.announce()
        if next(self.numbers) % 9 == 4:
            return  # it is stored during the outage
        await self.store(one)
        while (await self.request("GET", f"/assets/{one.asset_id}"))["status"] not in ENDED:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_PAUSE)
        one.ended = True
        self.ended += 1
        async with self.turn:
            self.turn.notify_all()
        if next(self.numbers) % 7 == 3 and one.ends == "ready":
            await self.delete(one)

    async def delete(self, one: Accepted) -> None:
        """Delete an asset and wait until its objects are gone, or the database is lost."""
        one.deleted = True
        await self.request("DELETE", f"/assets/{one.asset_id}")
        while not self.lost.is_set() and not one.erased:
            await asyncio.sleep(LOOK_PAUSE)
            one.erased = not await self.objects(one)

    async def announce(self) -> Accepted:
        number = next(self.numbers)
        kind = ("image", "image", "document", "image", "virus", "image", "video")[
            number % 7 if number < 21 else number % 6
        ]
        color = (number * 67 % 200 + 30, number * 113 % 200 + 30, number * 29 % 200 + 30)
        delivery = {"image": ("public", "verification_document")[number % 2], "document": "course_pdf"}.get(kind, "")
        content = {"document": document(number), "virus": bytes.fromhex(EICAR), "video": self.film}.get(kind)
        content_type = {"document": "application/pdf", "video": "video/mp4"}.get(kind, "image/png")
        body = {
            "asset_type": "image" if kind == "virus" else kind,
            "content_type": content_type,
            "original_filename": f"{number}.bin",
        }
        slot = await self.request("POST", "/upload", body | ({"delivery": delivery} if delivery else {}))
        one = Accepted(
            UUID(slot["asset_id"]),
            kind,
            delivery,
            color,
            "rejected" if kind == "virus" else "ready",
            slot["upload_url"],
            slot["headers"],
            content or photo(color),
        )
        self.made.append(one)
        return one

    async def store(self, one: Accepted) -> None:
        async with self.http.put(one.url, data=one.content, headers=one.headers, raise_for_status=True):
            one.stored = True

    async def objects(self, one: Accepted) -> int:
        """Count the versions in the bucket that belong to an asset."""
        asset_type = "image" if one.kind == "virus" else one.kind
        count = 0
        for root in ("uploads", "public", "processed", "private"):
            prefix = f"{root}/{asset_type}/{OWNER}/{one.asset_id}/"
            found = await self.services.s3.list_object_versions(Bucket=self.services.bucket, Prefix=prefix)
            count += len(found.get("Versions", ()))
        return count

    async def until(self, count: int) -> None:
        async with self.turn:
            await self.turn.wait_for(lambda: self.ended >= count)


@pytest.fixture
async def services(postgres: Database, clamd: Scanner, tmp_path: Path) -> AsyncIterator[ProxiedServices]:
    """Services on an emulator whose bucket holds nothing of other tests."""
    started = await emulator_part.start(tmp_path / "emulator", ports.free_port(), tmp_path)
    try:
        applied = await topology.apply(started.url, [])
        async with proxied_services(
            started.url, started.client_env(), applied, postgres.dsn, clamd.address, tmp_path, seed=1
        ) as found:
            yield found
    finally:
        await started.child.stop()


@pytest.fixture
async def load(services: ProxiedServices, film: bytes) -> AsyncIterator[Load]:
    async with aiohttp.ClientSession() as http:
        http._retry_connection = False  # a request that is lost must be noticed
        yield Load(services, http, film)


async def follow_runbook(services: ProxiedServices, word: str) -> str:
    """Run the one code block of the runbook that has this word, as somebody types it; return its output."""
    [script] = [block for block in blocks(RUNBOOK, "sh") if word in block]
    programs = postgres_part.program("pg_dump").parent
    env = {
        **services.env,
        "MEDIA_DATABASE_URL": services.dsn,
        "MEDIA_OWNER_DATABASE_URL": services.dsn,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    operator = f'operator() {{ {ROOT}/.venv/bin/"$@"; }}'
    return await run_command("bash", "-eu", "-c", f"{operator}\n{script}", cwd=services.logs, env=env)


async def start(services: ProxiedServices) -> tuple[Daemon, Daemon]:
    consumer, api = services.daemon(), services.api()
    await asyncio.gather(consumer.start(), api.start())
    async with asyncio.timeout(30):
        while await api.get("readyz") != 200:  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(LOOK_PAUSE)
    return consumer, api


async def back_up_and_lose(services: ProxiedServices, load: Load) -> None:
    """Run the load, back up in its middle, and lose the services with all that they had in hand."""
    consumer, api = await start(services)
    load.api = api.url
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(load.run())
            await load.until(BEFORE)
            await follow_runbook(services, "pg_dump")
            await load.delete(next(one for one in load.made if one.ended and one.ends == "ready" and not one.deleted))
            await load.until(AFTER)
            load.lost.set()
            await asyncio.gather(consumer.kill(), api.kill())
    finally:
        await asyncio.gather(consumer.kill(), api.kill())


async def wait_until_settled(services: ProxiedServices) -> None:
    try:
        await wait_until_all_bound_ended(services)
    except TimeoutError:
        rows = await services.db.fetch(
            "SELECT a.asset_id, a.status, s.stage, s.state, s.attempt, s.nudges, s.nudge_at, s.lease_until,"
            " (SELECT array_agg(code || ' ' || detail ORDER BY id) FROM timeline t WHERE t.asset_id = a.asset_id)"
            " FROM assets a LEFT JOIN stages s USING (asset_id)"
            " WHERE a.status IN ('uploaded', 'scanning', 'processing')"
        )
        pytest.fail(f"unfinished: {[tuple(row) for row in rows]}, {await services.depths()}")


async def wait_until_all_bound_ended(services: ProxiedServices) -> None:
    """Wait until all that was stored has ended. What was only announced stays `pending`."""
    await services.until("count(*) = 0 FROM assets WHERE status IN ('uploaded', 'scanning', 'processing')", deadline=60)
    async with asyncio.timeout(60):
        while any((await services.depths()).values()):  # noqa: ASYNC110 - the event is in the emulator
            await asyncio.sleep(LOOK_PAUSE)
    await services.until("count(*) = 0 FROM outbox")


async def assert_served_rightly(load: Load, one: Accepted) -> None:
    """Check that an asset that is not deleted ended as it should, and serves its own bytes to whom it may."""
    asset = await load.request("GET", f"/assets/{one.asset_id}")
    assert asset["status"] == one.ends, (one.kind, asset)
    if one.delivery:
        assert asset["delivery"] in {one.delivery, "verification_document"}, one
    if one.kind not in {"image", "document"}:
        return
    found = await load.request("GET", f"/assets/{one.asset_id}/url")
    async with load.http.get(found["url"], raise_for_status=True) as answer:
        served = await answer.read()
    if one.kind == "document":
        assert served == one.content
        return
    red, green, blue = Image.open(BytesIO(served)).convert("RGB").getpixel((20, 20))  # type: ignore[misc]
    assert all(abs(a - b) < 12 for a, b in zip((red, green, blue), one.color, strict=True)), one.color


async def assert_not_served(load: Load, one: Accepted, restored: str | None) -> None:
    """Check that nothing of an asset is served, which has this status in the backup.

    What was only announced by then waits for its upload as any other, and expires. Work that was under way may find
    that its upload is gone before the deletion is found.
    """
    with suppress(aiohttp.ClientResponseError):
        asset = await load.request("GET", f"/assets/{one.asset_id}")
        ends = {"pending": {"pending"}, "ready": {"deleted"}, "deleted": {"deleted"}}
        assert asset["status"] in ends.get(restored or "deleted", {"deleted", "rejected"}), (one.kind, asset)
        assert asset["status"] != "rejected" or asset["code"] == "source_missing", (one.kind, asset)
    with pytest.raises(aiohttp.ClientResponseError):
        await load.request("GET", f"/assets/{one.asset_id}/url")
    assert not await load.objects(one)


@pytest.mark.timeout(240)
async def test_nothing_is_lost_by_a_restore(services: ProxiedServices, load: Load) -> None:
    await back_up_and_lose(services, load)
    for one in load.made:
        if not one.stored:
            await load.store(one)
    await follow_runbook(services, "pg_restore")
    rows = await services.db.fetch("SELECT asset_id, status FROM assets")
    restored = {row["asset_id"]: row["status"] for row in rows}
    lost = [one for one in load.made if one.asset_id not in restored]
    assert lost, "the restore must have lost rows"

    output = await follow_runbook(services, "reconcile-storage --repair --grace 0s")
    assert {"unknown_upload", "gone"} <= set(re.findall(r"(?m)^[0-9a-f-]{36}: ([a-z_]+)", output)), output
    consumer, api = await start(services)
    load.api = api.url
    try:
        await wait_until_settled(services)
        for one in load.made:
            if one.erased:
                await assert_not_served(load, one, restored.get(one.asset_id))
            elif not one.deleted:  # else its deletion was lost with the outbox, as the runbook says
                await assert_served_rightly(load, one)
        closed = [one for one in load.made if one.delivery == "verification_document" and one.kind == "image"]
        public = await services.s3.list_objects_v2(Bucket=services.bucket, Prefix="public/")
        leaked = [f["Key"] for f in public.get("Contents", ()) for one in closed if str(one.asset_id) in f["Key"]]
        assert not leaked
        assert not (await services.depths("-dlq"))["uploads"], "of an upload that nobody knows"
    finally:
        await asyncio.gather(consumer.kill(), api.kill())
    erased = sum(one.erased for one in load.made)
    print(f"{len(load.made)} uploads, {len(lost)} rows lost, {erased} deleted before; {output}")  # noqa: T201 - wanted
    again = await follow_runbook(services, "reconcile-storage --repair --grace 0s")
    assert "0 problems repaired" in again, again
