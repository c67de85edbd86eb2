"""HDR pictures are shown as Chromium shows them. The expected values are what Chromium 156 drew."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from handlers.image.color.profiles import REC2020, SRGB, Primaries
from handlers.image.color.tone_mapping import HLG, PQ, HdrCurve, tone_map
from tests.unit.handlers.image.conftest import Render
from tests.unit.handlers.image.pictures import numbers, opened
from tests.unit.handlers.image.pngs import SIGNATURE, chunk

STEPS = 17
GRAYS = {
    (PQ, 1000): [0, 1, 5, 15, 30, 47, 70, 97, 131, 173, 212, 236, 255, 255, 255, 255, 255],
    (PQ, 4000): [0, 1, 5, 15, 30, 47, 70, 97, 131, 173, 202, 214, 225, 237, 249, 255, 255],
    (PQ, 600): [0, 1, 6, 19, 35, 55, 80, 111, 149, 196, 235, 253, 255, 255, 255, 255, 255],
    (HLG, 1000): [0, 3, 14, 28, 43, 57, 71, 85, 99, 115, 134, 158, 188, 211, 227, 242, 255],
}
REDS = {
    (PQ, REC2020): [0, 1, 8, 22, 40, 62, 89, 123, 165, 217, 255, 255, 255, 255, 255, 255, 255],
    (PQ, SRGB): [0, 1, 5, 15, 30, 47, 70, 97, 131, 173, 226, 255, 255, 255, 255, 255, 255],
    (HLG, REC2020): [0, 4, 17, 33, 48, 64, 80, 95, 111, 128, 150, 177, 209, 246, 255, 255, 255],
    (HLG, SRGB): [0, 2, 11, 23, 36, 48, 61, 73, 85, 99, 116, 138, 163, 194, 232, 255, 255],
}
ALLOWED = 4
"""Sources here have 8 bits, Chromium's had 16."""


def steps(*bands: float) -> Image.Image:
    ramp = np.linspace(0, 255, STEPS)
    return Image.fromarray(np.stack([ramp * band for band in bands], -1)[None].round().astype(np.uint8))


@pytest.mark.parametrize("kind", GRAYS, ids=str)
def test_grays_are_those_of_chromium(kind: tuple[int, int]) -> None:
    shown = np.asarray(tone_map(steps(1, 1, 1), HdrCurve(REC2020, *kind))).astype(int)[0]
    assert np.ptp(shown, axis=1).max() <= 1
    assert np.abs(shown[:, 0] - GRAYS[kind]).max() <= ALLOWED


@pytest.mark.parametrize("kind", REDS, ids=["PQ BT.2020", "PQ BT.709", "HLG BT.2020", "HLG BT.709"])
def test_colors_are_those_of_chromium(kind: tuple[int, Primaries]) -> None:
    transfer, primaries = kind
    shown = np.asarray(tone_map(steps(1, 0, 0), HdrCurve(primaries, transfer))).astype(int)[0]
    assert np.abs(shown[:, 0] - REDS[kind]).max() <= ALLOWED
    assert shown[:, 1:].max() <= ALLOWED


def test_alpha_stays() -> None:
    clear = steps(1, 1, 1)
    clear.putalpha(77)
    assert tone_map(clear, HdrCurve(REC2020, PQ)).getchannel("A").getextrema() == (77, 77)


@pytest.mark.parametrize(
    ("light", "peak", "shown"),
    [
        (b"", "1000", 212),
        (chunk(b"cLLI", struct.pack(">2I", 40_000_000, 4_000_000)), "4000", 202),
        (chunk(b"mDCV", bytes(16) + struct.pack(">2I", 6_000_000, 1)), "600", 235),
    ],
)
async def test_brightest_color_that_a_file_names_becomes_white(
    light: bytes, peak: str, shown: int, render: Render
) -> None:
    rows = (b"\0" + struct.pack(">3H", *[40_960] * 3) * 40) * 30
    source = chunk(b"IHDR", struct.pack(">2I5B", 40, 30, 16, 2, 0, 0, 0)) + chunk(b"cICP", bytes([9, PQ, 0, 1])) + light
    rendered = await render(SIGNATURE + source + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    assert rendered.notes == (f"tone_mapped: from PQ of {peak} cd/m²",)
    assert np.abs(numbers(opened(rendered)) - shown).max() <= ALLOWED
