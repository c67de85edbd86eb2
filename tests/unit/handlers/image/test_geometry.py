import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.image.geometry import WEBP_SIDE, WIDTHS, targets


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((700, 350), [("w150", 150, 75), ("w320", 320, 160), ("w640", 640, 320), ("w1024", 700, 350)]),
        ((100, 50), [("w150", 100, 50)]),
        ((150, 75), [("w150", 150, 75)]),
        ((151, 75), [("w150", 150, 75), ("w320", 151, 75)]),
        ((1, 1), [("w150", 1, 1)]),
        ((20000, 1), [(f"w{w}", w, 1) for w in WIDTHS]),
        ((100, 50000), [("w150", 32, 16000)]),
        ((400, 20000), [("w150", 150, 7500), ("w320", 320, 16000), ("w640", 327, 16350)]),
    ],
)
def test_names_and_sizes(size: tuple[int, int], expected: list[tuple[str, int, int]]) -> None:
    assert [(t.name, *t.size) for t in targets(*size)] == expected


@given(st.integers(1, 60_000), st.integers(1, 60_000))
def test_nothing_is_enlarged_and_everything_fits_webp(width: int, height: int) -> None:
    made = targets(width, height)
    assert all(
        1 <= w <= min(width, 1920) and 1 <= h <= min(max(height, 1), WEBP_SIDE) for w, h in (t.size for t in made)
    )
    assert [t.name for t in made] == [f"w{w}" for w in WIDTHS][: len(made)]
    assert len({t.size[0] for t in made}) == len(made)
