"""The jobs and the unsent events, in one small SQLite file: a state and its event are one write."""

import base64
import binascii
import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local.mediaconvert.errors import bad_request, not_found
from deploy.local.mediaconvert.events import Envelope
from deploy.local.mediaconvert.job import Job, Status

RETENTION = 90 * 86_400
"""Seconds for which a job is kept; the service keeps them three months."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT UNIQUE NOT NULL, token TEXT, status TEXT NOT NULL,
    input_file TEXT NOT NULL, created_at REAL NOT NULL, body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS jobs_token ON jobs (token, created_at);
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT NOT NULL, created_at REAL NOT NULL, due_at REAL NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0, body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_due ON events (due_at, seq);
CREATE INDEX IF NOT EXISTS events_job ON events (job_id, due_at);
"""


@dataclass(frozen=True, slots=True)
class PendingEvent:
    """An event that is not sent yet. Times are Unix seconds."""

    seq: int
    job_id: str
    created_at: float
    tries: int
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Page:
    """Some jobs, and the token for the next ones."""

    jobs: tuple[Job, ...]
    next_token: str | None


@dataclass(frozen=True, slots=True)
class Filter:
    """A selection of jobs; None selects all. `input_file` may be a part of the address."""

    status: str | None = None
    input_file: str | None = None
    ascending: bool = False
    limit: int = 20
    next_token: str | None = None


class JobStore:
    """Storage of jobs and events. It is synchronous: each call is one short transaction on a local file. Close it."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)
        self._db.execute("DELETE FROM jobs WHERE created_at < ?", (time.time() - RETENTION,))

    def close(self) -> None:
        self._db.close()

    def record(self, job: Job, *events: Envelope) -> bool:
        """Write the job and its new events together. Return False, and write nothing, for a job that has ended."""
        now = time.time()
        with self._transaction():
            written = self._db.execute(
                "INSERT INTO jobs (job_id, token, status, input_file, created_at, body) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (job_id) DO UPDATE SET status = excluded.status, body = excluded.body "
                "WHERE jobs.status IN ('SUBMITTED', 'PROGRESSING')",
                (job.job_id, job.token, job.status, job.input_file, job.created_at, job.model_dump_json()),
            )
            if not written.rowcount:
                return False
            # Not before waiting events of the same job: their order is kept.
            self._db.executemany(
                "INSERT INTO events (job_id, created_at, due_at, body) VALUES "
                "(:job, :now, max(:now, coalesce((SELECT max(due_at) FROM events WHERE job_id = :job), 0)), :body)",
                [{"job": job.job_id, "now": now, "body": json.dumps(event)} for event in events],
            )
        return True

    def get(self, job_id: str) -> Job:
        """Return a job. Raises RefusedError (NotFoundException) for an unknown id."""
        row = self._db.execute("SELECT body FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
        if row is None:
            raise not_found(f"The job {job_id} does not exist.")
        return Job.model_validate_json(row[0])

    def by_token(self, token: str, since: float) -> Job | None:
        """Return the latest job that was created with `token` at or after `since`."""
        row = self._db.execute(
            "SELECT body FROM jobs WHERE token = ? AND created_at >= ? ORDER BY seq DESC LIMIT 1", (token, since)
        ).fetchone()
        return Job.model_validate_json(row[0]) if row else None

    def unfinished(self) -> list[Job]:
        """List the jobs that have not ended, oldest first."""
        rows = self._db.execute("SELECT body FROM jobs WHERE status IN ('SUBMITTED', 'PROGRESSING') ORDER BY seq")
        return [Job.model_validate_json(row[0]) for row in rows]

    def count(self, status: Status) -> int:
        """Count the jobs with this status."""
        return int(self._db.execute("SELECT count(*) FROM jobs WHERE status = ?", (status,)).fetchone()[0])

    def page(self, wanted: Filter) -> Page:
        """Return a page of jobs. Raises RefusedError (BadRequestException) for an invalid token."""
        comparison, order = (">", "ASC") if wanted.ascending else ("<", "DESC")
        start = _decode(wanted.next_token) if wanted.next_token else (0 if wanted.ascending else 1 << 62)
        rows = self._db.execute(
            f"SELECT seq, body FROM jobs WHERE seq {comparison} ? AND (? IS NULL OR status = ?) "  # noqa: S608 - no user input
            f"AND (? IS NULL OR instr(input_file, ?) > 0) ORDER BY seq {order} LIMIT ?",
            (start, wanted.status, wanted.status, wanted.input_file, wanted.input_file, wanted.limit + 1),
        ).fetchall()
        shown = rows[: wanted.limit]
        more = len(rows) > len(shown)
        token = base64.urlsafe_b64encode(str(shown[-1][0]).encode()).decode() if more else None
        return Page(tuple(Job.model_validate_json(body) for _, body in shown), token)

    def due_events(self, limit: int) -> Sequence[PendingEvent]:
        rows = self._db.execute(
            "SELECT seq, job_id, created_at, tries, body FROM events WHERE due_at <= ? ORDER BY seq LIMIT ?",
            (time.time(), limit),
        )
        return [PendingEvent(seq, job, created, tries, json.loads(body)) for seq, job, created, tries, body in rows]

    def next_due(self) -> float | None:
        """Return when the next event may be sent, as Unix seconds; None when all are sent."""
        row = self._db.execute("SELECT min(due_at) FROM events").fetchone()
        return None if row[0] is None else float(row[0])

    def postpone(self, event: PendingEvent, due_at: float) -> None:
        """Postpone the event, and with it all later ones of its job."""
        self._db.execute(
            "UPDATE events SET due_at = ?, tries = tries + (seq = ?) WHERE job_id = ? AND seq >= ?",
            (due_at, event.seq, event.job_id, event.seq),
        )

    def drop(self, event: PendingEvent) -> None:
        self._db.execute("DELETE FROM events WHERE seq = ?", (event.seq,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def _decode(token: str) -> int:
    try:
        return int(base64.urlsafe_b64decode(token.encode()))
    except (binascii.Error, ValueError):
        raise bad_request("The nextToken is not valid.") from None
