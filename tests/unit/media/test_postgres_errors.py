"""Every error that Postgres or asyncpg can raise has a meaning, and none blames the file."""

import asyncio
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from media.asset_store.database import postgres_calls
from media.asset_store.postgres_errors import (
    BUG_CLASSES,
    SQLSTATES,
    UNKNOWN_CLASS,
    SessionFate,
    classify,
    classify_sqlstate,
    describe,
    is_login_refused,
)
from media.errors import FailureKind, UnavailableError


def subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    for one in kind.__subclasses__():
        yield one
        yield from subclasses(one)


SERVER_ERRORS = sorted(
    {one for one in subclasses(asyncpg.PostgresError) if getattr(one, "sqlstate", None)}, key=lambda one: one.__name__
)
CLIENT_ERRORS = sorted(
    {
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
        *subclasses(asyncpg.InterfaceError),
        *subclasses(asyncpg.InternalClientError),
    },
    key=lambda one: one.__name__,
)


def test_every_sqlstate_that_asyncpg_knows_is_of_a_known_class() -> None:
    assert len(SERVER_ERRORS) > 200
    unknown = [one.sqlstate for one in SERVER_ERRORS if classify_sqlstate(one.sqlstate) is UNKNOWN_CLASS]
    assert not unknown
    assert not BUG_CLASSES & set(SQLSTATES)


@pytest.mark.parametrize("error", SERVER_ERRORS, ids=lambda one: f"{one.sqlstate}-{one.__name__}")
def test_no_error_of_the_server_is_the_files(error: type[asyncpg.PostgresError]) -> None:
    failure = classify(error("x"))
    assert failure.kind is not FailureKind.INPUT
    expected = error if failure.kind is FailureKind.BUG else UnavailableError
    with pytest.raises(expected), postgres_calls():
        raise error("x")


@pytest.mark.parametrize("sqlstate", ["ABCDE", "S1000", "", "0"])
def test_a_sqlstate_that_postgres_does_not_have_is_an_outage(sqlstate: str) -> None:
    assert classify_sqlstate(sqlstate) is UNKNOWN_CLASS


@pytest.mark.parametrize("error", CLIENT_ERRORS, ids=lambda one: one.__name__)
def test_every_error_of_asyncpg_has_a_meaning(error: type[Exception]) -> None:
    with pytest.raises((error, UnavailableError)), postgres_calls():
        raise error("x")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError("no route"), FailureKind.UNAVAILABLE),
        (
            asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
            FailureKind.UNAVAILABLE,
        ),
        (
            asyncpg.InternalClientError("cannot switch to state 12; another operation (11) is in progress"),
            FailureKind.BUG,
        ),
        (TimeoutError(), FailureKind.UNAVAILABLE),
        (asyncio.IncompleteReadError(b"", 1), FailureKind.UNAVAILABLE),
        (KeyError("x"), FailureKind.UNAVAILABLE),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), FailureKind.UNAVAILABLE),
        (asyncpg.TargetServerAttributeNotMatched("x"), FailureKind.UNAVAILABLE),
        (asyncpg.exceptions._base.DataError("invalid input for query argument $1"), FailureKind.BUG),
    ],
    ids=repr,
)
def test_other_exceptions_have_a_meaning_too(error: Exception, kind: FailureKind) -> None:
    assert classify(error).kind is kind


@pytest.mark.parametrize("sqlstate", ["25006", "28P01", "57P01", "57P02", "57P03", "08006", "08P01"])
def test_a_session_with_the_wrong_server_expires_the_pool(sqlstate: str) -> None:
    assert classify_sqlstate(sqlstate).session is SessionFate.EXPIRE


@pytest.mark.parametrize("sqlstate", ["26000", "42P05", "34000", "25P02", "XX000", "57P05"])
def test_a_session_that_is_not_as_we_left_it_is_dropped(sqlstate: str) -> None:
    failure = classify_sqlstate(sqlstate)
    assert (failure.kind, failure.session) == (FailureKind.UNAVAILABLE, SessionFate.DROP)


def test_the_table_for_people_has_every_row() -> None:
    assert len(describe()) == len({name for name, _ in describe()}) > len(SQLSTATES)


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (asyncpg.InvalidPasswordError("password authentication failed for user"), True),
        (asyncpg.InvalidAuthorizationSpecificationError('role "x" does not exist'), True),
        (asyncpg.ProtocolViolationError("SASL authentication failed"), True),
        (asyncpg.ProtocolViolationError("no such user"), True),
        (asyncpg.ProtocolViolationError("pgbouncer cannot connect to server"), False),
        (asyncpg.ConnectionDoesNotExistError("authentication failed"), False),
    ],
    ids=str,
)
def test_refused_logins_are_told_from_lost_connections(error: Exception, *, refused: bool) -> None:
    assert is_login_refused(error) is refused
