"""Stages: work claimed under a lease with a fence, and committed only while both still hold.

`attempt` only grows; it is the fencing token and names the prefix an attempt writes under. Attempts that count
against the limit are `attempt - forgiven`: being put back forgives one, a new round forgives all.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any
from uuid import UUID

import asyncpg

from media.asset import Asset, Rendition, Stage, StageState, Status, sources_of
from media.asset_store import statements
from media.asset_store.database import Database
from media.asset_store.rows import asset_of
from media.errors import LeaseLostError
from media.outbox import Effect, OutboxRow, effects_as_json, outbox_row


@dataclass(frozen=True, slots=True)
class Fence:
    """What must still be true for a commit to count: this attempt in this state, and a lease that still runs.

    With `lease_over` a leased stage must be one whose lease has run out: it is given up without its worker.
    """

    asset_id: UUID
    stage: Stage
    attempt: int
    state: StageState = StageState.LEASED
    lease_over: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to end one stage of one asset: of a worker by its lease, or by the news of the job that is waited for.

    `tries` is what counts against the limit of attempts.
    """

    asset: Asset
    stage: Stage
    attempt: int
    tries: int
    plan: Mapping[str, Any] | None = None
    state: StageState = StageState.LEASED
    job_id: str | None = None

    @property
    def fence(self) -> Fence:
        return Fence(self.asset.asset_id, self.stage, self.attempt, self.state)


class Refusal(StrEnum):
    """Why a stage could not be claimed."""

    DONE = "done"  # finished, rejected, cancelled, or a job is running: the message has nothing left to ask for
    BUSY = "busy"  # another worker holds it
    STALE = "stale"  # the asset is deleted, or bound to another version
    FAILED = "failed"  # it has failed since the message was sent
    UNKNOWN = "unknown"  # no such asset or stage


@dataclass(frozen=True, slots=True)
class Refused:
    """A claim that was not granted. `remaining` is how many seconds the other worker's lease still runs."""

    reason: Refusal
    remaining: float = 0.0


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the timeline."""

    code: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a stage learnt about its asset; None leaves a column as it is."""

    content_type: str | None = None
    size: int | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    duration_ms: int | None = None
    placeholder: str | None = None
    dominant_color: str | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """All that one attempt leaves behind, written in one transaction or not at all."""

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
    """A stage as it stands."""

    state: StageState
    attempt: int
    tries: int
    job_id: str | None
    plan: Mapping[str, Any] | None
    progress: int

    def claim_of(self, asset: Asset, stage: Stage) -> Claim:
        """Return the claim on this stage of `asset`, good as long as the stage stands as it does."""
        return Claim(asset, stage, self.attempt, self.tries, self.plan, self.state, self.job_id)


@dataclass(frozen=True, slots=True)
class FencedRecorder:
    """Records what one attempt is about to do and how far it is.

    Every method raises LeaseLostError when the lease is lost, or the asset is gone.
    """

    stages: "StageStore"
    fence: Fence

    async def record_submission(self, plan: Mapping[str, Any], notes: Sequence[Note] = ()) -> None:
        """Record what is about to be done, or submitted elsewhere, so that a lost answer can be found again."""
        await self.stages.record_submission(self.fence, plan, notes)

    async def record_progress(self, percent: int) -> None:
        """Record how far the attempt is; neither stage nor asset ever runs backwards."""
        await self.stages.record_progress(self.fence, percent)


class StageStore:
    """Claims, renews, releases and commits stages. Every method raises UnavailableError when Postgres is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(
        self, asset_id: UUID, stage: Stage, *, version_id: str, lease: float, asked_at: float = math.inf
    ) -> Claim | Refused:
        """Take the lease on a stage for `lease` seconds, if it is free and the asset is bound to `version_id`.

        A failed stage opens a new round, with all earlier attempts forgiven, for whoever asked after it had failed
        (`asked_at`, Unix seconds): a redriven message. One that was on its way then, a duplicate for one, does not.
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
            return Claim(asset_of(record), stage, attempt, tries, _json(record["plan"]))
        return _refused(record, version_id, sources_of(status), asked_at)

    async def renew(self, fences: Sequence[Fence], *, lease: float) -> set[Fence]:
        """Extend leases that are still held; returns those that are lost."""
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
        """Return the one door through which the work on a claim may write before its commit."""
        return FencedRecorder(self, fence)

    async def release(self, fence: Fence, note: Note | None = None, *, forgive: bool) -> None:
        """Give a stage back as `queued`. A lease that is lost already is somebody else's: nothing happens."""
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
        """Write down what is about to be done, or submitted elsewhere. Raises LeaseLostError when it must not be."""
        said = json.dumps([{"code": note.code, "detail": note.detail[:2000]} for note in notes])
        done = await self._database.fetchval(
            statements.RECORD_SUBMISSION,
            fence.asset_id,
            fence.stage,
            fence.attempt,
            json.dumps(plan),
            said,
        )
        if done is None:
            raise LeaseLostError

    async def commit(self, fence: Fence, commit: Commit) -> list[OutboxRow]:
        """Write a commit in one transaction. Returns the outbox rows it left.

        Raises LeaseLostError when the attempt, its lease or the asset is not what it was: nothing is written then.
        """
        records = await self._database.fetch(statements.COMMIT, *_commit_values(fence, commit))
        if not records:
            raise LeaseLostError
        return [outbox_row(record) for record in records if record["id"] is not None]

    async def progress(self, asset_id: UUID, job_id: str, percent: int) -> bool:
        """Note how far a job is; it never runs backwards. False when nobody waits for that job, or it was further."""
        done = await self._database.fetchval(statements.PROGRESS, asset_id, job_id, min(percent, 99))
        return done is not None

    async def record_progress(self, fence: Fence, percent: int) -> None:
        """Note how far a claim is; neither stage nor asset ever runs backwards. Raises LeaseLostError."""
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
        """A stage as it stands."""
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


def _refused(record: asyncpg.Record, version_id: str, open_statuses: Sequence[str], asked_at: float) -> Refused:
    """Deleted or bound to another version: stale. Finished: done. Else somebody holds it, or the asset has moved on."""
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


def _commit_values(fence: Fence, commit: Commit) -> list[Any]:
    renditions = [{f.name: getattr(r, f.name) for f in fields(Rendition)} for r in commit.renditions]
    facts = {f.name: getattr(commit.facts, f.name) for f in fields(Facts)}
    notes = [{"code": n.code, "detail": n.detail[:2000]} for n in commit.notes]
    return [
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
        json.dumps(facts),
        json.dumps(renditions),
        json.dumps(notes),
        commit.next_stage,
        effects_as_json(commit.effects),
        fence.lease_over,
    ]
