"""What each error of Postgres means, for the work that met it and for the connection that reported it.

Nothing here is ever the file's fault: what is stored was checked before. docs/failures.md shows the table.
"""

from dataclasses import dataclass
from enum import StrEnum

import asyncpg

from media.errors import FailureKind


class SessionFate(StrEnum):
    """What becomes of the connection, and of the pool's others."""

    KEEP = "keep"
    DROP = "drop"  # this session is in a state that nothing here brings about
    EXPIRE = "expire all"  # it leads to the wrong server, or to none: the others do too


@dataclass(frozen=True, slots=True)
class PostgresFailure:
    """The meaning of an error."""

    kind: FailureKind
    session: SessionFate
    meaning: str


_RETRY, _AWAY, _BUG = FailureKind.RETRY, FailureKind.UNAVAILABLE, FailureKind.BUG
_KEEP, _DROP, _EXPIRE = SessionFate.KEEP, SessionFate.DROP, SessionFate.EXPIRE

SQLSTATES: dict[str, PostgresFailure] = {
    "08": PostgresFailure(_AWAY, _EXPIRE, "the connection is lost, or a pooler has none to the server, or refuses us"),
    "25": PostgresFailure(_AWAY, _DROP, "a transaction that is not ours, as a pooler leaves them behind"),
    "25006": PostgresFailure(_RETRY, _EXPIRE, "read-only: this was the writer, before a failover"),
    "26": PostgresFailure(_AWAY, _DROP, "a prepared statement is gone: a pooler in transaction mode"),
    "28": PostgresFailure(_AWAY, _EXPIRE, "the password or the role is refused: a rotation"),
    "34": PostgresFailure(_AWAY, _DROP, "a portal is gone: a pooler in transaction mode"),
    "3D": PostgresFailure(_AWAY, _EXPIRE, "the database is not there: a restore, or a pooler that does not know it"),
    "3F": PostgresFailure(_AWAY, _KEEP, "the schema is not there: a restore"),
    "40": PostgresFailure(_RETRY, _KEEP, "a deadlock or a conflict: everything was rolled back"),
    "40003": PostgresFailure(_AWAY, _DROP, "nobody knows whether the statement was carried out"),
    "42501": PostgresFailure(_AWAY, _KEEP, "the role lacks a right"),
    "42703": PostgresFailure(_AWAY, _KEEP, "a column is missing: the schema was not applied"),
    "42883": PostgresFailure(_AWAY, _KEEP, "a function is missing: the schema was not applied"),
    "42P01": PostgresFailure(_AWAY, _KEEP, "a table is missing: the schema was not applied"),
    "42P05": PostgresFailure(_AWAY, _DROP, "a prepared statement of another session: a pooler in transaction mode"),
    "53": PostgresFailure(_AWAY, _KEEP, "the server is full: connections, memory, disk"),
    "55": PostgresFailure(_AWAY, _KEEP, "a lock could not be had in time, or an object is in use"),
    "57": PostgresFailure(_AWAY, _EXPIRE, "the server starts, stops, or ended the session"),
    "57014": PostgresFailure(_AWAY, _KEEP, "the statement took too long and was canceled"),
    "57P05": PostgresFailure(_AWAY, _DROP, "the session was idle for too long"),
    "58": PostgresFailure(_AWAY, _KEEP, "the server's disk fails"),
    "72": PostgresFailure(_RETRY, _KEEP, "a snapshot is too old"),
    "F0": PostgresFailure(_AWAY, _KEEP, "the server's configuration is wrong"),
    "XX": PostgresFailure(_AWAY, _DROP, "the server or a pooler reports a fault of its own"),
}
"""By SQLSTATE, or by its class of two characters where the whole class means the same."""

_OWN_FAULT = PostgresFailure(_BUG, _KEEP, "our statement or its values are wrong")
BUG_CLASSES = frozenset(
    "01 02 03 09 0A 0B 0F 0L 0P 0Z 10 20 21 22 23 24 27 2B 2D 2F 38 39 3B 42 44 54 HV P0".split()  # noqa: SIM905 - 28 quotes
)
"""Classes of SQLSTATE that Postgres documents and that only a mistake of ours brings about."""
UNKNOWN_CLASS = PostgresFailure(_AWAY, _DROP, "no SQLSTATE of Postgres: something between us and the server")

_OTHERS: tuple[tuple[type[Exception], PostgresFailure], ...] = (
    (asyncpg.TargetServerAttributeNotMatched, PostgresFailure(_AWAY, _KEEP, "the name leads to a read-only server")),
    (asyncpg.ProtocolError, PostgresFailure(_AWAY, _EXPIRE, "what answers does not speak Postgres' protocol")),
    (asyncpg.OutdatedSchemaCacheError, PostgresFailure(_AWAY, _DROP, "the schema changed under the session")),
    (asyncpg.InternalClientError, PostgresFailure(_BUG, _DROP, "a mistake of asyncpg")),
    (UnicodeDecodeError, PostgresFailure(_AWAY, _EXPIRE, "an answer that is no text")),
    (ValueError, PostgresFailure(_BUG, _KEEP, "a value that its column cannot hold, or an address that is none")),
    (asyncpg.UnsupportedClientFeatureError, PostgresFailure(_BUG, _KEEP, "a feature that asyncpg lacks")),
    (asyncpg.UnsupportedServerFeatureError, PostgresFailure(_BUG, _KEEP, "a feature that the server lacks")),
    (asyncpg.InterfaceError, PostgresFailure(_AWAY, _DROP, "the connection is closed, or the pool is closing")),
    # The statement was asked to be canceled: the connection stays if the server obeys.
    (TimeoutError, PostgresFailure(_AWAY, _KEEP, "no answer in time")),
    (OSError, PostgresFailure(_AWAY, _EXPIRE, "no connection: refused, cut, or not to be resolved")),
)
"""By type, the first that matches, for what is no answer of the server."""
_ENDED = PostgresFailure(
    _AWAY, _EXPIRE, "the server ended the session while it was idle, and asyncpg has not yet closed it"
)
_ENDED_TEXT = "another operation (2) is in progress"  # 2: asyncpg reads an error that nobody asked for
UNFORESEEN = PostgresFailure(_AWAY, _EXPIRE, "asyncpg cannot read the answer, which no server of Postgres gives")

_POOLER_REFUSALS = ("authentication failed", "no such user")


def classify(error: Exception) -> PostgresFailure:
    """Return what an error means. Every exception has a meaning."""
    if isinstance(error, asyncpg.PostgresError):
        return classify_sqlstate(error.sqlstate or "")
    if isinstance(error, asyncpg.InternalClientError) and _ENDED_TEXT in str(error):
        return _ENDED
    return next((failure for kind, failure in _OTHERS if isinstance(error, kind)), UNFORESEEN)


def classify_sqlstate(sqlstate: str) -> PostgresFailure:
    """Return what a SQLSTATE means."""
    failure = SQLSTATES.get(sqlstate) or SQLSTATES.get(sqlstate[:2])
    return failure or (_OWN_FAULT if sqlstate[:2] in BUG_CLASSES else UNKNOWN_CLASS)


def is_login_refused(error: Exception) -> bool:
    """Tell whether an error says that the user or the password is refused, by Postgres or by PgBouncer."""
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):  # 28000, and 28P01, which is a kind of it
        return True
    # PgBouncer (1.18 to 1.25) refuses a login with this SQLSTATE, as it says most of what it says itself.
    return isinstance(error, asyncpg.ProtocolViolationError) and any(text in str(error) for text in _POOLER_REFUSALS)


def describe() -> list[tuple[str, PostgresFailure]]:
    """Return the whole table for people: what is met, and what it means."""
    rows = [(f"`{code}`" if len(code) > 2 else f"class `{code}`", failure) for code, failure in SQLSTATES.items()]  # noqa: PLR2004 - a class has two characters
    rows.append((f"classes {', '.join(f'`{name}`' for name in sorted(BUG_CLASSES))}", _OWN_FAULT))
    rows.append(("any other class", UNKNOWN_CLASS))
    rows.append((f"`InternalClientError` with `{_ENDED_TEXT}`", _ENDED))
    rows += [(f"`{kind.__name__}`", failure) for kind, failure in _OTHERS]
    return [*rows, ("any other exception", UNFORESEEN)]
