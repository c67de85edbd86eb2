"""File names: characters that are kept or removed, and names that are refused."""

import pytest
from pydantic import TypeAdapter, ValidationError

from api.schemas.assets import Filename

NAMES: TypeAdapter[str] = TypeAdapter(Filename)


@pytest.mark.parametrize(
    "name",
    [
        "\U0001f468\u200d\U0001f469\u200d\U0001f467.jpg",
        "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.pdf",
        "\u2764\ufe0f.png",
        "Ma\u0308rz.jpg",
    ],
)
def test_joiners_and_combining_marks_are_kept(name: str) -> None:
    assert NAMES.validate_python(name) == name


@pytest.mark.parametrize(
    "hidden", ["\u202e", "\u2066", "\u200f", "\u200b", "\ufeff", "\u00ad", "\U000e0041", "\u2060", "\x00"]
)
def test_invisible_and_direction_characters_are_removed(hidden: str) -> None:
    assert NAMES.validate_python(f"a{hidden}b.jpg") == "ab.jpg"


@pytest.mark.parametrize(
    "name", ["\u200d", "\u200c\ufe0f", "\u200b\u202e", " \u200d ", "\U000e0101", "\u3164", "\u2800", "\u0308"]
)
def test_invisible_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="at least one visible character"):
        NAMES.validate_python(name)
