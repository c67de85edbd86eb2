"""A database as it looks after a year of life, by COPY: assets, stages, renditions, timelines, outbox.

Asset `number` is the same in every run. A third belongs to one owner, the others have some 37 each. Of 200 assets about
180 are ready; the rest are unfinished, failed, expired or deleted. The last thousand are in progress now.
"""

import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

HEAVY_OWNER = "heavy"
"""The owner of a third of all assets."""
ASSETS_OF_ONE = 37
"""Assets of each other owner."""
LIVE = 1000
"""The newest assets, which are in progress: their number does not grow."""
BATCH = 5000
"""Assets of one COPY of each table."""
SPAN = timedelta(days=365)
"""The age of the oldest asset."""
RARE = 20_000
"""One asset in so many was rejected."""
PLAN = '{"at": 1.0, "plan": {"rungs": [{"width": 1920, "height": 1080}, {"width": 1280, "height": 720}]}}'
COLUMNS = {
    "assets": "asset_id owner_id asset_type status code delivery content_type original_filename declared_size bucket"
    " key version_id etag sequencer size sha256 width height progress placeholder dominant_color recording_id trace_id"
    " uploaded_at ready_at created_at updated_at webinar_id external_id upload_id part_size",
    "stages": "asset_id stage state attempt forgiven lease_until job_id progress plan nudges nudge_at updated_at",
    "renditions": "asset_id name key content_type bytes width height attempt",
    "timeline": "asset_id at stage attempt code detail",
    "outbox": "asset_id kind target body attempts due_at created_at",
}
_KINDS: tuple[tuple[int, str], ...] = (
    (4, "backlog"),
    (8, "leased"),
    (10, "waiting"),
    (11, "failed"),
    (13, "expired"),
    (17, "deleted"),
    (21, "unswept"),
    (40, "video"),
    (55, "document"),
    (200, "image"),
)
"""What asset `number` is, by the first bound above `number % 200`."""
_LIVE_KINDS = ("leased", "leased", "leased", "waiting", "backlog", "pending", "parts", "image", "image", "unswept")
"""What the newest are, by `number % 10`."""


def asset_id(number: int) -> UUID:
    return UUID(bytes=hashlib.blake2b(str(number).encode(), digest_size=16).digest())


@dataclass
class Population:
    """Assets 0 to `total`, and the text of their rows for COPY."""

    total: int
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def owner(self, number: int) -> str:
        return HEAVY_OWNER if number % 3 == 0 else f"owner-{number * 7919 % max(1, self.total // ASSETS_OF_ONE)}"

    def kind(self, number: int) -> str:
        if number >= self.total - LIVE:
            return _LIVE_KINDS[number % 10]
        if number % RARE == 18:
            return "rejected"
        return next(kind for bound, kind in _KINDS if number % 200 < bound)

    def newest(self, kind: str, *, owner: str | None = None) -> int:
        """Return the newest asset of that kind."""
        return next(
            number
            for number in range(self.total - 1, -1, -1)
            if self.kind(number) == kind and owner in {None, self.owner(number)}
        )

    def created_at(self, number: int) -> datetime:
        return self.now - SPAN * ((self.total - number) / self.total)

    def rows(self, number: int) -> Iterator[tuple[str, tuple[object, ...]]]:
        """Yield the rows of one asset, each with its table. Columns as in COLUMNS."""
        identity, kind, owner, created = (
            asset_id(number),
            self.kind(number),
            self.owner(number),
            self.created_at(number),
        )
        kept = {"video": "video", "waiting": "video", "document": "document"}.get(kind, "image")
        status = _STATUS.get(kind, "ready")
        done, ready = created + timedelta(seconds=10), status == "ready"
        key = f"uploads/{kept}/{owner}/{identity}/photo-{number}.jpg"
        bound = status not in {"pending", "expired"}
        recording = f"recording-{number}" if kept == "video" and number % 2 else None
        yield (
            "assets",
            (identity, owner, kept, status, "corrupt" if status in {"failed", "rejected"} else None, "public")
            + (f"{kept}/any", f"photo-{number}.jpg", 2_830_000, "uploads", key, f"version-{number}" if bound else None)
            + (
                f"etag-{number}",
                f"00{number:014x}",
                2_830_000,
                hashlib.sha256(key.encode()).hexdigest() if bound else None,
            )
            + (4000, 3000, 100 if ready else 0, "LEHV6nWB2yk8pyo0adR*.7kCMdnj" if ready else None, "#a0b0c0")
            + (recording, f"{number:032x}", created, done if ready else None, created, done)
            + (recording and f"webinar-{number // 1000}", f"course-{number // 1000}" if number % 100 == 50 else None)
            + (("upload", 8_388_608) if kind == "parts" else (None, None)),
        )
        yield from self._stages(number, kind, kept, done)
        if ready:
            for size in range(5):
                name = f"w{320 * 2**size}"
                path = f"public/{kept}/{owner}/{identity}/{_STAGE_OF[kept]}-1/{name}.webp"
                yield (
                    "renditions",
                    (identity, name, path, "image/webp", 40_000 * 2**size, 320 * 2**size, 240 * 2**size, 1),
                )
        codes: list[tuple[str, str | None]] = [("created", None)]
        codes += [("uploaded", None)] if bound else []
        if ready:
            codes += [(code, "scan") for code in ("scanning", "inspected", "clean")]
            codes += [(code, _STAGE_OF[kept]) for code in ("started", "rendered", "ready")]
        for second, (code, stage) in enumerate(codes):
            yield "timeline", (identity, created + timedelta(seconds=second), stage, stage and 1, code, "0.2 s")
        if number % 100 == 1 or (kind == "deleted" and number % 400 < 200):  # half of them are not forgotten yet
            effect = "invalidate" if kind == "deleted" else "send"
            due, tries = (self.now + timedelta(hours=1), 3) if number // 100 % 2 else (self.now - timedelta(hours=1), 0)
            yield "outbox", (identity, effect, "images", '{"asset_id": "x"}', tries, due, done)

    def _stages(self, number: int, kind: str, kept: str, done: datetime) -> Iterator[tuple[str, tuple[object, ...]]]:
        """Yield the stages. Of those that are unfinished all but one in 2,000 were reminded, and wait on."""
        if kind in {"pending", "parts", "expired"}:
            return
        identity, state = asset_id(number), _STATE.get(kind, "done")
        is_live, is_due = number >= self.total - LIVE, number % 2000 < 17
        lease = self.now + timedelta(hours=1 if is_live else -1) if state == "leased" else None
        is_reminded = state in {"queued", "leased", "waiting"} and not is_due and not is_live
        reminded = (1, self.now + timedelta(hours=1)) if is_reminded else (0, None)
        attempt = 2 if kind == "unswept" else 1
        if kind != "backlog":
            yield "stages", (identity, "scan", "done", 1, 0, None, None, 100, None, 0, None, done)
            stage, is_video = _STAGE_OF[kept], kept == "video"
            job, plan = (f"job-{number}", PLAN) if is_video else (None, None)
            progress = 100 if state == "done" else 0
            yield "stages", (identity, stage, state, attempt, 0, lease, job, progress, plan, *reminded, done)
        else:
            yield "stages", (identity, "scan", "queued", 0, 0, None, None, 0, None, *reminded, done)


_STAGE_OF = {"image": "image", "video": "transcode", "document": "image"}
_STATUS = {
    "backlog": "uploaded",
    "leased": "processing",
    "waiting": "processing",
    "pending": "pending",
    "parts": "pending",
} | {name: name for name in ("failed", "rejected", "expired", "deleted")}
_STATE = {
    "backlog": "queued",
    "leased": "leased",
    "waiting": "waiting",
    "failed": "failed",
    "rejected": "rejected",
    "deleted": "cancelled",
}


async def load(connection: "asyncpg.Connection[asyncpg.Record]", population: Population) -> None:
    """Fill the tables of a fresh schema. Foreign keys and triggers are off meanwhile; indexes are built at the end."""
    indexes = await connection.fetch(
        "SELECT indexrelid::regclass AS name, pg_get_indexdef(indexrelid) AS made FROM pg_index"
        " JOIN pg_class ON pg_class.oid = indrelid WHERE relname = ANY($1::text[])"
        " AND indexrelid NOT IN (SELECT conindid FROM pg_constraint)",
        list(COLUMNS),
    )
    await connection.execute("SET session_replication_role = replica; SET statement_timeout = 0")
    await connection.execute("SET maintenance_work_mem = '256MB'")
    for index in indexes:
        await connection.execute(f"DROP INDEX {index['name']}")
    for first in range(0, population.total, BATCH):
        lines: dict[str, list[str]] = {table: [] for table in COLUMNS}
        for number in range(first, min(first + BATCH, population.total)):
            for table, row in population.rows(number):
                lines[table].append("\t".join("\\N" if value is None else str(value) for value in row))
        for table, columns in COLUMNS.items():
            await connection.copy_to_table(table, source=_encoded(lines[table]), columns=columns.split(), format="text")
    for index in indexes:
        await connection.execute(index["made"])
    await connection.execute("SET session_replication_role = origin")
    await connection.execute(
        "INSERT INTO changes (asset_id, owner_id)"
        " SELECT asset_id, owner_id FROM assets ORDER BY created_at DESC LIMIT 10000"
    )
    for table in [*COLUMNS, "changes"]:
        await connection.execute(f"VACUUM (ANALYZE) {table}")


async def _encoded(lines: list[str]) -> AsyncIterator[bytes]:
    yield "".join(f"{line}\n" for line in lines).encode()
