"""Every statement of the stores, on a database with a year of assets: none of them may begin to scan."""

import pytest

from tests.bench.database import limit_of, measure
from tests.conftest import Database

ASSETS = 20_000


async def test_no_statement_reads_more_than_its_bound(postgres: Database) -> None:
    """A plan for given values and a plan for any values, as a connection that lives long takes it."""
    measured = await measure(postgres.dsn, ASSETS)
    dear = {one.name: one.blocks for one in measured if one.blocks > limit_of(one.name)}
    assert not dear, "see tests/bench/database.py: blocks by statement"


async def test_a_statement_that_is_not_measured_is_an_error(
    postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def call_none(*_: object) -> None:
        """Forget all of them."""

    monkeypatch.setattr("tests.bench.database.call_all", call_none)
    with pytest.raises(LookupError, match=r"does not call: AssetStore\._note"):
        await measure(postgres.dsn, 100)
