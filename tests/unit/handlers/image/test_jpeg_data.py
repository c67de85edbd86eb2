"""The end of a JPEG's data, and bytes after it."""

import numpy as np
import pytest
from PIL import Image

from media.errors import RejectedError
from tests.unit.handlers.image.conftest import Render
from tests.unit.handlers.image.pictures import difference, many_scans, opened, quarters, saved

END = b"\xff\xd9"


def noise(mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(1).integers(0, 255, (301, 402, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


PLAIN = saved(noise(), "JPEG")
PROGRESSIVE = saved(noise(), "JPEG", progressive=True)
RESTARTING = saved(noise(), "JPEG", restart_marker_blocks=4)
WHOLE = {
    "plain": PLAIN,
    "progressive": PROGRESSIVE,
    "gray": saved(noise("L"), "JPEG"),
    "cmyk": saved(noise("CMYK"), "JPEG"),
    "progressive cmyk": saved(noise("CMYK"), "JPEG", progressive=True),
    "restarting": RESTARTING,
}


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("part", [0.3, 0.6, 0.99])
async def test_jpeg_whose_data_end_early_is_corrupt(kind: str, part: float, render: Render) -> None:
    whole = WHOLE[kind]
    with pytest.raises(RejectedError, match="corrupt"):
        await render(whole[: int(len(whole) * part)] + END)


async def test_jpeg_cut_at_a_restart_marker_is_corrupt(render: Render) -> None:
    with pytest.raises(RejectedError, match="corrupt"):
        await render(RESTARTING[: RESTARTING.index(b"\xff\xd3", len(RESTARTING) // 2)] + END)


_TABLES = PLAIN.index(b"\xff\xdb")
HARMLESS = {
    **WHOLE,
    "bytes behind": PLAIN + b"garbage" * 1000,
    "zeros behind": PLAIN + bytes(5000),
    "bytes before the end": PLAIN[:-2] + b"\1\2\3\4" * 5 + END,
    "bytes before the end of scans": PROGRESSIVE[:-2] + b"\1\2\3\4" * 5 + END,
    "bytes between headers": PLAIN[:_TABLES] + b"\0\1\2\3" + PLAIN[_TABLES:],
    "an Adobe marker of no known transform": PLAIN[:2] + b"\xff\xee\0\x0eAdobe\0d\0\0\0\0\x07" + PLAIN[2:],
    "a scan less": PROGRESSIVE[: PROGRESSIVE.rindex(b"\xff\xda")] + END,
}


@pytest.mark.parametrize("kind", HARMLESS)
async def test_jpeg_with_harmless_damage_is_rendered(kind: str, render: Render) -> None:
    rendered = await render(HARMLESS[kind])
    assert (rendered.width, rendered.height) == (402, 301)


@pytest.mark.parametrize("kind", ["film", "bomb"])
async def test_bytes_after_the_picture_are_ignored(kind: str, render: Render) -> None:
    """A phone's film holds the bytes of a scan's beginning by chance; other pictures may follow, too."""
    picture = quarters((6000, 4000))
    behind = {"film": b"\0\0\0\x18ftypmp42" + b"\xff\xda\0\x0c\1" * 200_000, "bomb": many_scans()}
    rendered = await render(saved(picture, "JPEG") + behind[kind])
    assert difference(opened(rendered), picture) < 6


@pytest.mark.parametrize(
    "disguise",
    [
        pytest.param(b"\xff" * 300 + b"\xfe\0\2", id="filling"),
        pytest.param(b"\xff\x01\xff\xd0", id="markers without a length"),
        pytest.param(b"\xff\xfe\0\4" + END, id="an end within a comment"),
        pytest.param(b"\xff\xfe\0\0", id="a comment shorter than its length"),
    ],
)
async def test_scans_are_counted_however_they_are_hidden(disguise: bytes, render: Render) -> None:
    bomb = many_scans(600)
    at = bomb.index(b"\xff\xda")
    with pytest.raises(RejectedError, match="resource_limit"):
        await render(bomb[:at] + disguise + bomb[at:])


async def test_segments_without_end_are_refused(render: Render) -> None:
    with pytest.raises(RejectedError, match="resource_limit"):
        await render(PLAIN[:2] + b"\xff\xe5\0\2" * 150_000 + PLAIN[2:])
