"""The memory that is estimated before a picture is rendered, compared with the memory that it took."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from handlers.image.protocol import JobKind, RenderJob
from media.errors import Code, RejectedError
from tests.unit.handlers.image.conftest import MIB, Render
from tests.unit.handlers.image.heics import TILE, heic_grid
from tests.unit.handlers.image.pictures import difference, opened, quarters, saved

SIZE = (4000, 3000)
_RENDER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from handlers.image import pipeline, worker
from handlers.image.protocol import RenderJob
worker.build()
job = RenderJob.decode(sys.argv[1])
print(pipeline.survey(job).memory)
with ThreadPoolExecutor(worker.ENCODERS) as encoders:
    pipeline.render(job, encoders)
with open("/proc/self/status") as status:  # getrusage starts from the parent's own peak
    print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) * 1024)
"""


def clear(size: tuple[int, int] = SIZE) -> Image.Image:
    """A picture with an alpha channel that is used."""
    picture = quarters(size)
    picture.putalpha(Image.linear_gradient("L").resize(size))
    return picture


def few_colors() -> Image.Image:
    """A picture with a palette. It is enlarged afterwards, because the search for colors takes long."""
    return quarters((40, 30)).quantize(16).resize(SIZE)


def moving(image: Image.Image, kind: str) -> bytes:
    return saved(image, kind, save_all=True, append_images=[image.rotate(180)])


KINDS: dict[str, tuple[Callable[[], bytes], str]] = {
    "progressive jpeg": (lambda: saved(quarters(SIZE), "JPEG", progressive=True, subsampling=0), "image/jpeg"),
    "cmyk jpeg": (lambda: saved(quarters(SIZE).convert("CMYK"), "JPEG"), "image/jpeg"),
    "palette": (lambda: saved(few_colors(), "PNG", transparency=1), "image/png"),
    "16 bits": (lambda: saved(quarters(SIZE).convert("I;16"), "PNG"), "image/png"),
    "png": (lambda: saved(clear(), "PNG"), "image/png"),
    "webp": (lambda: saved(clear(), "WEBP", method=0), "image/webp"),
    "lossless webp": (lambda: saved(clear(), "WEBP", lossless=True, method=0), "image/webp"),
    "moving webp": (lambda: moving(clear(), "WEBP"), "image/webp"),
    "gif": (lambda: saved(few_colors(), "GIF"), "image/gif"),
    "moving gif": (lambda: moving(few_colors(), "GIF"), "image/gif"),
    "tiff": (lambda: saved(quarters(SIZE), "TIFF"), "image/tiff"),
    "avif": (lambda: saved(clear(), "AVIF", speed=10), "image/avif"),
    "heic": (lambda: saved(clear(), "HEIF", enc_params={"preset": "ultrafast"}), "image/heic"),
    "heic of tiles": (lambda: heic_grid(SIZE), "image/heic"),
}
"""Pictures by kind, each with its content type. They are made when needed: every process of a run imports this page."""


@pytest.mark.parametrize("kind", KINDS)
def test_rendering_stays_within_the_estimated_memory(kind: str, tmp_path: Path) -> None:
    make, content_type = KINDS[kind]
    (tmp_path / "source").write_bytes(make())
    job = RenderJob(JobKind.RENDER, str(tmp_path / "source"), content_type, str(tmp_path), 100_000_000, 200_000_000)
    done = subprocess.run(
        [sys.executable, "-c", _RENDER, job.encode()],
        cwd=Path(__file__).parents[5],
        check=True,
        capture_output=True,
        timeout=60,
    )
    said, took = (int(line) for line in done.stdout.split())
    assert took <= said
    assert said < 900 * MIB, "a dozen megapixels never fill a child"


@pytest.mark.parametrize("kind", ["WEBP", "PNG"])
async def test_the_largest_pictures_that_settings_allow_are_rendered(kind: str, render: Render) -> None:
    size = (9990, 10_000)
    options = {"method": 0} if kind == "WEBP" else {"compress_level": 1}
    picture = Image.new("RGBA", size, (200, 40, 40, 128))
    rendered = await render(saved(picture, kind, **options))
    assert (rendered.width, rendered.height) == size


@pytest.mark.parametrize("size", [pytest.param((12_000, 9000), marks=pytest.mark.soak), (16_320, 12_240)])
@pytest.mark.parametrize("kind", ["JPEG", "progressive JPEG", "HEIC"])
async def test_photos_of_108_and_200_megapixels_are_rendered(kind: str, size: tuple[int, int], render: Render) -> None:
    photo = Image.new("RGB", size, (200, 40, 40))
    source = heic_grid(size) if kind == "HEIC" else saved(photo, "JPEG", progressive=kind != "JPEG")
    rendered = await render(source)
    assert (rendered.width, rendered.height) == size
    assert rendered.files[-1].width == 1920


async def test_what_is_too_large_is_told_what_to_do(render: Render) -> None:
    with pytest.raises(RejectedError, match="send a copy of fewer pixels") as refused:
        await render(saved(Image.new("L", (12_000, 9000)), "PNG", compress_level=1))
    assert refused.value.code is Code.TOO_MANY_PIXELS


async def test_heic_of_tiles_looks_as_it_should(render: Render) -> None:
    shown = opened(await render(heic_grid((1600, 1100))))
    tile = Image.radial_gradient("L").resize((TILE, TILE))
    expected = Image.new("L", (1600, 1100))
    for left in range(0, 1600, TILE):
        for top in range(0, 1100, TILE):
            expected.paste(tile, (left, top))
    assert difference(shown, expected) < 6


async def test_the_tallest_pictures_are_rendered(render: Render) -> None:
    rendered = await render(saved(clear((1920, 16_383)), "PNG", compress_level=1))
    assert rendered.files[-1].height == 16_383


@pytest.mark.parametrize("mode", ["P", "LA", "RGB", "RGBA"])
async def test_large_pictures_look_as_they_should_in_every_mode(mode: str, render: Render) -> None:
    """They go to libvips a band at a time; a seam, or a band in another mode, would show."""
    source = (clear if mode in {"LA", "RGBA"} else quarters)((2403, 1701)).convert(mode)
    assert difference(opened(await render(saved(source, "PNG"))), source) < 8


async def test_of_an_animation_of_vast_frames_the_first_is_shown(render: Render) -> None:
    rendered = await render(moving(quarters((66, 50)).quantize(8).resize((6600, 5000)), "GIF"))
    assert any(note.startswith("first_frame") for note in rendered.notes)
