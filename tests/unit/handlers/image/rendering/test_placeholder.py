import base64
from collections.abc import Callable

import pytest
from PIL import Image

from handlers.image.rendering.placeholder import dominant_color, thumbhash

type Paint = Callable[[int, int], tuple[int, int, int, int]]

# What the reference implementation (evanw/thumbhash, JavaScript, 0.1.1) gives for the same pixels.
REFERENCE: list[tuple[int, int, Paint, str]] = [
    (32, 20, lambda x, y: (x * 8, y * 12, (x * y) % 256, 255), "2xgOHJpgdndwiHiGeIb0lg/3iA=="),
    (20, 32, lambda x, y: (x * 12, y * 8, 255 - x * 5, 255), "ZeUJXBpzB4eHiId4d4iAcwj3iA=="),
    (24, 24, lambda x, y: (x * 10, y * 10, 128, (x + y) * 5), "IfiFFQoXoIewiIp3iKCwCvlocHdweId3eA=="),
    (1, 1, lambda _x, _y: (10, 200, 30, 255), "VIoon14I9wiIh4hwj3CI+AiIgIAI94cP"),
    (3, 2, lambda _x, _y: (0, 0, 0, 0), "AAiCA4AAAAAAAAAAAAAAAAAAAAAAAAA="),
]


def fields(encoded: str) -> list[int]:
    """Header fields and waves of a hash; rounding may move each by one where it stands halfway."""
    raw = base64.b64decode(encoded)
    first, second = int.from_bytes(raw[:3], "little"), int.from_bytes(raw[3:5], "little")
    header = [first & 63, first >> 6 & 63, first >> 12 & 63, first >> 18 & 31, second & 7, second >> 3 & 63]
    return [*header, *(nibble for byte in raw[5:] for nibble in (byte & 15, byte >> 4))]


@pytest.mark.parametrize(("width", "height", "paint", "expected"), REFERENCE)
def test_the_hash_is_the_reference_s(width: int, height: int, paint: Paint, expected: str) -> None:
    image = Image.new("RGBA", (width, height))
    for y in range(height):
        for x in range(width):
            image.putpixel((x, y), paint(x, y))
    ours, theirs = fields(thumbhash(image)), fields(expected)
    assert len(ours) == len(theirs)
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) <= 1


def test_the_dominant_color_is_that_of_most_visible_pixels() -> None:
    image = Image.new("RGBA", (100, 100), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 100, 30))
    image.paste((0, 200, 0, 255), (0, 30, 100, 50))
    assert dominant_color(image) == "#0000ff"


def test_where_nothing_is_visible_the_color_is_white() -> None:
    assert dominant_color(Image.new("RGBA", (10, 10))) == "#ffffff"
