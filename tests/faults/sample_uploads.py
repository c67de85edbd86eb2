"""Many small uploads as clients make them, and what must be true of them at the end."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus
from uuid import UUID, uuid4

from PIL import Image

from deploy.local import child, programs
from deploy.local.clamav import EICAR
from media.asset import DEFAULT_DELIVERY, AssetType, upload_key
from media.asset_store.assets import AssetStore, NewAsset
from media.asset_store.database import connect
from media.aws.bucket_checks import SELF_TEST
from tests.faults.proxied_services import ProxiedServices
from tests.unit.handlers.scan.documents import samples

CODES_AFTER_END = {"lease_lost", "late_version", "stale_job", "quarantined", "job_warning"}
"""Timeline codes that may still follow after the end of an asset."""
DOCUMENT_FILES = {"original", "w150", "w320", "w640", "w1024"}
PARALLEL = 8


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of upload: what is sent, and the status that it must end with."""

    asset_type: AssetType
    content_type: str
    name: str
    content: bytes
    ends: str = "ready"


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that was made, with its notification, which can be sent again."""

    asset_id: UUID
    kind: Kind
    notification: dict[str, Any]


def picture(form: str) -> bytes:
    target = BytesIO()
    Image.linear_gradient("L").resize((64, 48)).convert("RGB").save(target, form)
    return target.getvalue()


def document(number: int = 0) -> bytes:
    return samples.document() + b"%%%d\n" % number


async def make_clip(folder: Path) -> bytes:
    """Make a video of one second, 64 × 48."""
    path = folder / "clip.mp4"
    process = await asyncio.create_subprocess_exec(
        programs.ffmpeg(),
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=64x48:rate=10:duration=1",
        "-pix_fmt",
        "yuv420p",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        str(path),
        env=child.base_environment(),
    )
    async with asyncio.timeout(60):
        assert await process.wait() == 0
    return path.read_bytes()


PNG = Kind(AssetType.IMAGE, "image/png", "p.png", picture("PNG"))
JPEG = Kind(AssetType.IMAGE, "image/jpeg", "a photo.jpg", picture("JPEG"))
PDF = Kind(AssetType.DOCUMENT, "application/pdf", "d.pdf", document())
VIRUS = Kind(AssetType.IMAGE, "image/png", "v.png", bytes.fromhex(EICAR), ends="rejected")


async def upload(services: ProxiedServices, store: AssetStore, kind: Kind, owner: str) -> Upload:
    """Register an asset and PUT its object; the emulator sends the notification."""
    asset_id = uuid4()
    key = upload_key(kind.asset_type, owner, asset_id, kind.name)
    new = NewAsset(
        asset_id,
        owner,
        kind.asset_type,
        DEFAULT_DELIVERY[kind.asset_type],
        kind.content_type,
        kind.name,
        services.bucket,
        key,
    )
    assert await store.create(new)
    put = await services.s3.put_object(
        Bucket=services.bucket, Key=key, Body=kind.content, ContentType=kind.content_type
    )
    stored = {
        "key": quote_plus(key),
        "size": len(kind.content),
        "eTag": put["ETag"].strip('"'),
        "versionId": put["VersionId"],
    }
    record = {
        "eventVersion": "2.1",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": services.bucket}, "object": stored},
    }
    return Upload(asset_id, kind, {"Records": [record]})


async def send_all(
    services: ProxiedServices, kinds: Sequence[Kind], *, duplicates: float = 0.2, late: int = 10
) -> list[Upload]:
    """Upload them in random order and announce a share of them again, up to `late` seconds later."""
    shuffled = services.chance.sample(list(kinds), len(kinds))
    owners = [f"owner-{n}" for n in range(7)]
    gate = asyncio.Semaphore(PARALLEL)
    async with connect(services.dsn) as database:
        store = AssetStore(database)

        async def one(kind: Kind) -> Upload:
            async with gate:
                made = await upload(services, store, kind, services.chance.choice(owners))
                if services.chance.random() < duplicates:
                    await services.send("uploads", made.notification, delay=services.chance.randint(0, late))
                return made

        return list(await asyncio.gather(*map(one, shuffled)))


async def wait_until_all_ended(services: ProxiedServices, deadline: float, *, hidden: bool = True) -> None:
    """Wait until every asset is terminal, and every queue and the outbox are empty.

    A copy of a message whose stage another worker held is hidden for minutes, long after the work has ended. Without
    `hidden` such copies are not waited for.
    """
    await services.until(
        "count(*) = 0 FROM assets WHERE status IN ('pending', 'uploaded', 'scanning', 'processing')", deadline=deadline
    )
    async with asyncio.timeout(deadline):
        while any((await services.depths(hidden=hidden)).values()):  # noqa: ASYNC110 - the event is in the emulator
            await asyncio.sleep(0.2)
    await services.until("count(*) = 0 FROM outbox", deadline=deadline)


async def assert_consistent(services: ProxiedServices, uploads: Sequence[Upload]) -> None:
    """Check that nothing is lost, done twice, or left behind."""
    await _assert_ends(services, uploads)
    await _assert_served(services, uploads)
    await _assert_timelines(services)
    ours = {str(one.asset_id) for one in uploads}
    jobs = Counter(job.user_metadata["asset_id"] for job in services.mediaconvert.jobs())
    jobs = Counter({asset_id: count for asset_id, count in jobs.items() if asset_id in ours})
    videos = {str(one.asset_id): 1 for one in uploads if one.kind.asset_type is AssetType.VIDEO}
    assert jobs == videos, "one job for each video"
    assert not any((await services.depths("-dlq")).values()), await services.depths("-dlq")


async def _assert_ends(services: ProxiedServices, uploads: Sequence[Upload]) -> None:
    rows = await services.db.fetch("SELECT asset_id, status, code, detail FROM assets")
    ended = {row["asset_id"]: row["status"] for row in rows}
    unexpected = {one.asset_id: ended.get(one.asset_id) for one in uploads if ended.get(one.asset_id) != one.kind.ends}
    reasons = [dict(row) for row in rows if row["asset_id"] in unexpected]
    assert not unexpected, reasons
    unfinished = await services.db.fetch("SELECT * FROM stages WHERE state NOT IN ('done', 'rejected')")
    assert not unfinished, [dict(row) for row in unfinished]


async def _assert_served(services: ProxiedServices, uploads: Sequence[Upload]) -> None:
    """Check that the bucket holds what the database serves: every rendition, and no file of another attempt."""
    renditions: dict[UUID, list[Any]] = defaultdict(list)
    for row in await services.db.fetch("SELECT * FROM renditions"):
        renditions[row["asset_id"]].append(row)
    ours = {one.asset_id for one in uploads}
    found = await _versions(services, ours)
    for one in uploads:
        expected = {"image": {"w150"}, "document": DOCUMENT_FILES, "video": {"hls", "mp4", "poster"}}
        names = expected[one.kind.asset_type] if one.kind.ends == "ready" else set()
        rows = renditions[one.asset_id]
        assert {row["name"] for row in rows} == names, one
        won = {row["key"].split("/")[4] for row in rows}
        assert len({attempt.partition("-")[0] for attempt in won}) == len(won), "all of the attempt that won"
        derived = [row["key"] for row in rows if not row["key"].startswith("uploads/")]
        assert set(derived) <= set(found[one.asset_id]), "every rendition is there"
        prefixes = {tuple(key.split("/")[:5]) for key in found[one.asset_id]}
        assert prefixes == {tuple(key.split("/")[:5]) for key in derived}, "and nothing else is"
        if one.kind.asset_type is AssetType.IMAGE:
            assert sorted(found[one.asset_id]) == sorted(derived), "each written once"


async def _versions(services: ProxiedServices, ours: set[UUID]) -> dict[UUID, list[str]]:
    """List every version and delete marker under the outputs' prefixes, by asset."""
    found: dict[UUID, list[str]] = defaultdict(list)
    for top in ("public/", "processed/", "private/"):
        async for page in services.s3.get_paginator("list_object_versions").paginate(
            Bucket=services.bucket, Prefix=top
        ):
            for entry in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]:
                if entry["Key"] == SELF_TEST:
                    continue
                asset_id = UUID(entry["Key"].split("/")[3])
                if asset_id in ours:
                    found[asset_id].append(entry["Key"])
    return found


async def _assert_timelines(services: ProxiedServices) -> None:
    """Check that creation, upload and end are noted once, and attempts only grow."""
    timelines: dict[UUID, list[Any]] = defaultdict(list)
    for row in await services.db.fetch("SELECT * FROM timeline ORDER BY id"):
        timelines[row["asset_id"]].append(row)
    for asset_id, timeline in timelines.items():
        codes = [row["code"] for row in timeline]
        counted = Counter(codes)
        assert codes[:2] == ["created", "uploaded"], (asset_id, codes)
        assert counted["created"] == counted["uploaded"] == 1, (asset_id, codes)
        assert counted["ready"] + counted["rejected"] == 1, (asset_id, codes)
        assert counted["submitted"] <= 1, (asset_id, codes)
        end = next(n for n, code in enumerate(codes) if code in {"ready", "rejected"})
        assert set(codes[end + 1 :]) <= CODES_AFTER_END, (asset_id, codes)
        for stage in ("scan", "image", "transcode"):
            attempts = [row["attempt"] for row in timeline if row["stage"] == stage]
            assert attempts == sorted(attempts), (asset_id, stage, attempts)


def mixed_kinds(chance: random.Random, count: int, *, pictures: float, videos: int, film: bytes) -> list[Kind]:
    """Choose `count` kinds: a share of pictures, some videos, a virus now and then, and documents."""
    film_kind = Kind(AssetType.VIDEO, "video/mp4", "v.mp4", film)
    kinds = [chance.choice([PNG, JPEG]) for _ in range(int(count * pictures))]
    kinds += [film_kind] * videos + [VIRUS] * max(1, count // 50)
    return kinds + [PDF] * (count - len(kinds))
