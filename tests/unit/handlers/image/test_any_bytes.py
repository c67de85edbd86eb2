"""Any bytes end as renditions or a rejection, and leave no files behind."""

import io
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from handlers.image.renderer import ImageRenderer
from media.errors import RejectedError
from tests.unit.handlers.image.conftest import LIMITS
from tests.unit.handlers.image.picture_strategies import KINDS


@pytest.fixture(scope="module")
async def small_renderer() -> AsyncIterator[ImageRenderer]:
    """A renderer with low limits, so that no picture takes long."""
    async with ImageRenderer(replace(LIMITS, max_pixels=2_000_000, max_total_pixels=4_000_000, workers=1)) as running:
        yield running


@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
async def test_any_bytes_end_as_renditions_or_a_rejection(
    kind: str, data: st.DataObject, small_renderer: ImageRenderer, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    path = tmp_path / "source"
    path.write_bytes(data.draw(KINDS[kind]))
    try:
        rendered = await small_renderer.render(path, out)
    except RejectedError:
        assert not list(out.iterdir())
        return
    assert {file.path for file in rendered.files} == set(out.iterdir())
    for file in rendered.files:
        with Image.open(io.BytesIO(file.path.read_bytes())) as image:
            assert image.size == (file.width, file.height)
        file.path.unlink()
