"""TIFFs with any kind of samples are shown correctly or refused as unsupported."""

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from handlers.image.renderer import RenderedImage
from media.errors import Code, RejectedError
from tests.unit.handlers.image.conftest import Render
from tests.unit.handlers.image.pictures import gradient, numbers, opened
from tests.unit.handlers.image.tiffs import DEFLATE, RAW, REAL, SEPARATE, SIGNED, TOGETHER, UNSIGNED, Layout, tiff_of

SIZE = 61, 40
"""An odd width, so that rows of bits end within a byte."""
MUST_WORK = {(1, UNSIGNED), (2, UNSIGNED), (4, UNSIGNED), (8, UNSIGNED), (8, SIGNED), (16, UNSIGNED), (16, SIGNED)}
MUST_WORK |= {(32, UNSIGNED), (32, SIGNED), (32, REAL), (12, UNSIGNED)}

GRAYS = [
    Layout(bits, 1, photometric, form, compression, big=big)
    for (bits, form), photometric, compression, big in product(
        [
            *((bits, UNSIGNED) for bits in (1, 2, 4, 8, 10, 12, 14, 16, 24, 32, 64)),
            *((bits, SIGNED) for bits in (8, 16, 32, 64)),
            *((bits, REAL) for bits in (16, 32, 64)),
        ],
        (0, 1),
        (RAW, DEFLATE),
        (False, True),
    )
]
COLORS = [
    Layout(bits, samples, photometric, UNSIGNED, compression, planes, extra, big)
    for (bits, samples, photometric, extra), compression, planes, big in product(
        [
            (8, 2, 1, (2,)),
            (16, 2, 1, (2,)),
            (8, 3, 2, ()),
            (16, 3, 2, ()),
            (8, 4, 2, (2,)),
            (16, 4, 2, (2,)),
            (16, 4, 2, (0,)),
            (8, 4, 5, ()),
            (16, 4, 5, ()),
            (8, 3, 6, ()),
            (8, 3, 8, ()),
            (16, 3, 8, ()),
        ],
        (RAW, DEFLATE),
        (TOGETHER, SEPARATE),
        (False, True),
    )
]


def spread(unit: NDArray[np.float64], layout: Layout) -> NDArray[np.float64]:
    """0 to 1 as the numbers of a layout."""
    if layout.sample_format == REAL:
        return unit
    top = 2.0**layout.bits - 1
    low = -(2.0 ** (layout.bits - 1)) if layout.sample_format == SIGNED else 0.0
    stored = np.round(unit * top) + low
    return np.minimum(stored, low + top - (2.0**11 if layout.bits == 64 else 0.0))  # the greatest float that fits


async def outcome(render: Render, source: bytes) -> RenderedImage | Code:
    try:
        return await render(source)
    except RejectedError as error:
        return error.code


@pytest.mark.parametrize("layout", GRAYS, ids=str)
async def test_a_gray_ramp_is_shown_or_refused(layout: Layout, render: Render) -> None:
    unit = gradient(SIZE)
    rendered = await outcome(render, tiff_of(spread(unit, layout), layout))
    if isinstance(rendered, Code):
        assert rendered is Code.UNSUPPORTED
        assert (layout.bits, layout.sample_format) not in MUST_WORK or layout.photometric == 0 or layout.big
        return
    expected = unit if layout.photometric else 1 - unit
    if layout.bits < 8:
        expected = np.round(unit * (2**layout.bits - 1)) / (2**layout.bits - 1)
        expected = expected if layout.photometric else 1 - expected
    assert np.abs(numbers(opened(rendered))[:, :, 0] - expected * 255).mean() < (12 if layout.bits < 8 else 2)


@pytest.mark.parametrize("layout", COLORS, ids=str)
async def test_colors_are_shown_or_refused(layout: Layout, render: Render) -> None:
    ramp = gradient(SIZE)
    bands = {1: [ramp], 2: [ramp, ramp[:, ::-1], ramp * 0 + 0.5], 5: [1 - ramp, ramp * 0, ramp * 0, ramp * 0]}
    shown = bands.get(layout.photometric, [ramp, ramp * 0 + 128 / 255, ramp * 0 + 128 / 255])
    if layout.photometric == 8:
        shown[1:] = [ramp * 0] * 2  # a and b of nothing are 0, with a sign
    stored = [*shown, *[ramp * 0 + 1] * 4][: layout.samples]
    rendered = await outcome(render, tiff_of(spread(np.stack(stored, 2), layout), layout))
    if isinstance(rendered, Code):
        assert rendered is Code.UNSUPPORTED
        assert layout.planes == SEPARATE or layout.photometric in {6, 8} or layout.bits == 16
        return
    seen = numbers(opened(rendered))
    if layout.photometric == 8:  # the lightness of sRGB is no straight line
        assert (np.ptp(seen, axis=2) < 6).all()
        assert (np.diff(seen[20, :, 0]) > -4).all()
        return
    expected = {1: [ramp] * 3, 2: shown, 5: [ramp, ramp * 0 + 1, ramp * 0 + 1], 6: [ramp] * 3}[layout.photometric]
    assert np.abs(seen - np.stack(expected, 2) * 255).mean() < 4


@pytest.mark.parametrize("outlier", [np.nan, np.inf, -np.inf, 3e38, -3e38])
async def test_outlier_does_not_change_the_other_pixels(outlier: float, render: Render) -> None:
    unit = gradient(SIZE)
    unit[0, 0] = outlier
    rendered = await render(tiff_of(unit, Layout(32, sample_format=REAL)))
    assert np.abs(numbers(opened(rendered))[4:, :, 0] - gradient(SIZE)[4:] * 255).mean() < 2


@pytest.mark.parametrize(("low", "high"), [(0, 4095), (-1000, 3000), (0, 300)])
async def test_numbers_with_a_sign_are_stretched_with_a_note(low: int, high: int, render: Render) -> None:
    """As in pictures of X-rays, which use as much of 16 bits as their detectors have."""
    values = np.round(low + gradient(SIZE) * (high - low))
    rendered = await render(tiff_of(values, Layout(16, sample_format=SIGNED)))
    assert np.abs(numbers(opened(rendered))[:, :, 0] - gradient(SIZE) * 255).mean() < 2
    assert rendered.notes == (f"levels: {low} is shown as black and {high} as white",)


async def test_a_picture_of_one_value_is_no_error(render: Render) -> None:
    for value, form in ((0.0, REAL), (7.0, REAL), (-7.0, REAL), (np.nan, REAL), (0.0, SIGNED), (-5.0, SIGNED)):
        assert (await render(tiff_of(np.full(SIZE, value), Layout(32, sample_format=form)))).files


async def test_a_small_copy_before_the_picture_itself_is_refused(render: Render) -> None:
    with pytest.raises(RejectedError, match="unsupported"):
        await render(tiff_of(gradient(SIZE) * 255, Layout(8), (254, 4, (1,))))
