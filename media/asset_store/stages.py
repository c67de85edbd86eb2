"""Stages: work that is claimed under a lease with a fence, and committed only while both still hold.

`attempt` only grows. It is the fencing token, and names the prefix that an attempt writes under. `attempt - forgiven`
counts against the limit: a release forgives one attempt, a new round forgives all.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any
from uuid import UUID

import asyncpg

from media.asset import Asset, AssetNote, DocumentInfo, Rendition, Stage, StageState, Status, sources_of
from media.asset_store import statements
from media.asset_store.database import Database
from media.asset_store.rows import asset_of
from media.errors import LeaseLostError
from media.outbox import Effect, OutboxRow, effects_as_json, outbox_row


@dataclass(frozen=True, slots=True)
class Fence:
    """The condition of a commit: this attempt in this state, and a lease that still runs.

    With `lease_over` the lease of a leased stage must have run out: the stage is given up without its worker.
    """

    asset_id: UUID
    stage: Stage
    attempt: int
    state: StageState = StageState.LEASED
    lease_over: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to end one stage of one asset: a worker's by its lease, or a job event's for the awaited job.

    `tries` are the attempts that count against the limit. `claimed_at` is Unix seconds by the database's clock, as is
    the time in the plan.
    """

    asset: Asset
    stage: Stage
    attempt: int
    tries: int
    plan: Mapping[str, Any] | None = None
    state: StageState = StageState.LEASED
    job_id: str | None = None
    claimed_at: float = 0.0

    @property
    def fence(self) -> Fence:
        return Fence(self.asset.asset_id, self.stage, self.attempt, self.state)


class Refusal(StrEnum):
    """Why a stage could not be claimed."""

    DONE = "done"  # finished, rejected, canceled, or a job is running: the message asks for nothing more
    BUSY = "busy"  # another worker holds it
    STALE = "stale"  # the asset is deleted, or bound to another version
    FAILED = "failed"  # it has failed since the message was sent
    UNKNOWN = "unknown"  # no such asset or stage


@dataclass(frozen=True, slots=True)
class Refused:
    """A claim that was not granted. `remaining` is the seconds that the other worker's lease still runs."""

    reason: Refusal
    remaining: float = 0.0


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the timeline."""

    code: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Properties of the asset that a stage found out. None leaves a column as it is.

    `notes` replace those that the same stage left before.
    """

    content_type: str | None = None
    size: int | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    duration_ms: int | None = None
    placeholder: str | None = None
    dominant_color: str | None = None
    page_count: int | None = None
    document_info: DocumentInfo | None = None
    notes: Sequence[AssetNote] = ()


@dataclass(frozen=True, slots=True)
class Commit:
    """Everything that one attempt leaves behind, written in one transaction or not at all."""

    state: StageState
    status: Status
    code: str | None = None
    detail: str | None = None
    facts: Facts = field(default_factory=Facts)
    renditions: Sequence[Rendition] = ()
    notes: Sequence[Note] = ()
    next_stage: Stage | None = None
    effects: Sequence[Effect] = ()
    job_id: str | None = None
    progress: int = 0
    billed_seconds: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Seconds of output by engine and class, counted once this is committed and not stored."""


@dataclass(frozen=True, slots=True)
class StageRow:
    """The current state of a stage."""

    state: StageState
    attempt: int
    tries: int
    job_id: str | None
    plan: Mapping[str, Any] | None
    progress: int

    def claim_of(self, asset: Asset, stage: Stage) -> Claim:
        """Return the claim on this stage of `asset`. It is good until the stage changes."""
        return Claim(asset, stage, self.attempt, self.tries, self.plan, self.state, self.job_id)


@dataclass(frozen=True, slots=True)
class FencedRecorder:
    """Records the submission and the progress of one attempt.

    Every method raises LeaseLostError when the lease is lost or the asset is gone.
    """

    stages: "StageStore"
    fence: Fence

    async def record_submission(self, plan: Mapping[str, Any], notes: Sequence[Note] = ()) -> None:
        """Record what is about to be done or submitted, so that a job whose answer was lost can be found again.

        The plan gets the time in `at`, by the database's clock: the worker that looks for the job has another one.
        """
        await self.stages.record_submission(self.fence, plan, notes)

    async def record_progress(self, percent: int) -> None:
        """Record the progress of the attempt. It never decreases."""
        await self.stages.record_progress(self.fence, percent)


class StageStore:
    """Claims, renews, releases and commits stages. Every method raises UnavailableError when Postgres is down."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(
        self, asset_id: UUID, stage: Stage, *, version_id: str, lease: float, asked_at: float = math.inf
    ) -> Claim | Refused:
        """Take the lease on a stage for `lease` seconds, if it is free and the asset is bound to `version_id`.

        A message that was sent after the stage failed (`asked_at`, Unix seconds) was redriven: it opens a new round,
        with all earlier attempts forgiven. An older message, such as a duplicate, does not.
        """
        status = Status.SCANNING if stage is Stage.SCAN else Status.PROCESSING
        record = await self._database.fetchrow(
            statements.CLAIM,
            asset_id,
            stage,
            lease,
            version_id,
            status,
            sources_of(status),
            asked_at,
        )
        if record is None:
            return Refused(Refusal.UNKNOWN)
        if record["claimed_attempt"] is not None:
            attempt = record["claimed_attempt"]
            tries = attempt - record["claimed_forgiven"]
            plan, claimed_at = _json(record["plan"]), record["claimed_at"]
            return Claim(asset_of(record), stage, attempt, tries, plan, claimed_at=claimed_at)
        return _refused(record, version_id, sources_of(status), asked_at)

    async def renew(self, fences: Sequence[Fence], *, lease: float) -> set[Fence]:
        """Extend the leases that are still held; returns those that are lost."""
        records = await self._database.fetch(
            statements.RENEW,
            [f.asset_id for f in fences],
            [f.stage.value for f in fences],
            [f.attempt for f in fences],
            lease,
        )
        held = {(r["asset_id"], r["stage"], r["attempt"]) for r in records}
        return {f for f in fences if (f.asset_id, f.stage.value, f.attempt) not in held}

    def recorder(self, fence: Fence) -> FencedRecorder:
        """Return the recorder of a claim: all that its work may write before the commit."""
        return FencedRecorder(self, fence)

    async def release(self, fence: Fence, note: Note | None = None, *, forgive: bool) -> None:
        """Give a stage back as `queued`. Does nothing when the lease is lost."""
        await self._database.execute(
            statements.RELEASE,
            fence.asset_id,
            fence.stage,
            fence.attempt,
            int(forgive),
            note and note.code,
            note.detail[:2000] if note else "",
        )

    async def record_submission(self, fence: Fence, plan: Mapping[str, Any], notes: Sequence[Note] = ()) -> None:
        """Record what is about to be done or submitted. Raises LeaseLostError."""
        done = await self._database.fetchval(
            statements.RECORD_SUBMISSION,
            fence.asset_id,
            fence.stage,
            fence.attempt,
            json.dumps(plan),
            _notes_as_json(notes),
        )
        if done is None:
            raise LeaseLostError

    async def commit(self, fence: Fence, commit: Commit) -> list[OutboxRow]:
        """Write a commit in one transaction. Returns its outbox rows.

        Raises LeaseLostError, and writes nothing, when the fence does not hold any more.
        """
        renditions = [{f.name: getattr(r, f.name) for f in fields(Rendition)} for r in commit.renditions]
        records = await self._database.fetch(
            statements.COMMIT,
            fence.asset_id,
            fence.stage,
            fence.attempt,
            fence.state,
            sources_of(commit.status),
            commit.state,
            commit.job_id,
            commit.progress,
            commit.status,
            commit.code,
            (commit.detail or "")[:2000] or None,
            json.dumps(asdict(commit.facts)),
            json.dumps(renditions),
            _notes_as_json(commit.notes),
            commit.next_stage,
            effects_as_json(commit.effects),
            fence.lease_over,
        )
        if not records:
            raise LeaseLostError
        return [outbox_row(record) for record in records if record["id"] is not None]

    async def progress(self, asset_id: UUID, job_id: str, percent: int) -> bool:
        """Record the progress of a job. False when no stage waits for that job, or the stage was further already."""
        done = await self._database.fetchval(statements.PROGRESS, asset_id, job_id, min(percent, 99))
        return done is not None

    async def record_progress(self, fence: Fence, percent: int) -> None:
        """Record the progress of a claim. It never decreases, on stage or asset. Raises LeaseLostError."""
        held = await self._database.fetchval(
            statements.RECORD_PROGRESS,
            fence.asset_id,
            fence.stage,
            fence.attempt,
            min(percent, 99),
        )
        if held is None:
            raise LeaseLostError

    async def get(self, asset_id: UUID, stage: Stage) -> StageRow | None:
        """Return the current state of a stage, or None."""
        record = await self._database.fetchrow(
            "SELECT * FROM stages WHERE asset_id = $1 AND stage = $2",
            asset_id,
            stage,
        )
        if record is None:
            return None
        attempt, tries = record["attempt"], record["attempt"] - record["forgiven"]
        plan = _json(record["plan"])
        return StageRow(StageState(record["state"]), attempt, tries, record["job_id"], plan, record["progress"])


def _json(value: str | None) -> Mapping[str, Any] | None:
    loaded: Mapping[str, Any] | None = json.loads(value) if value else None
    return loaded


def _notes_as_json(notes: Sequence[Note]) -> str:
    return json.dumps([{"code": note.code, "detail": note.detail[:2000]} for note in notes])


def _refused(record: asyncpg.Record, version_id: str, open_statuses: Sequence[str], asked_at: float) -> Refused:
    """Tell from the row why a stage was not claimed."""
    if record["status"] == Status.DELETED or record["version_id"] != version_id:
        return Refused(Refusal.STALE)
    state = record["state"]
    if state is None:
        return Refused(Refusal.UNKNOWN)
    if state not in {StageState.LEASED, StageState.QUEUED, StageState.FAILED}:
        return Refused(Refusal.DONE)
    if record["status"] not in open_statuses:
        return Refused(Refusal.STALE)
    if state == StageState.FAILED and record["stage_updated"] >= asked_at:
        return Refused(Refusal.FAILED)
    return Refused(Refusal.BUSY, max(0.0, record["remaining"] or 0.0))
