"""The generated pages are up to date with the code."""

import pytest

from deploy import reference


@pytest.mark.parametrize("name", sorted(reference.PAGES))
def test_page_is_up_to_date(name: str) -> None:
    assert name not in reference.outdated(), "run python -m deploy.reference"


def test_types_are_written_for_people() -> None:
    assert "['" not in reference.PAGES["api-reference.md"]()
