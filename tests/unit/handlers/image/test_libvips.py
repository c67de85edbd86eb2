"""libvips reads only stripped JPEGs, and the renderer does not start without it."""

from pathlib import Path

import pytest
from PIL import Image

from handlers.image.renderer import ImageRenderer
from handlers.sandbox import ChildStartError, WorkerPool
from tests.unit.handlers.image.conftest import LIMITS, MIB
from tests.unit.handlers.image.pictures import quarters, saved

CHILDREN = "tests.unit.handlers.image.worker_factories"


def pool(factory: str) -> WorkerPool:
    return WorkerPool(f"{CHILDREN}:{factory}", workers=1, memory=1536 * MIB, file_bytes=MIB, timeout=20.0)


async def test_a_renderer_without_libvips_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.image.renderer._WORKER", f"{CHILDREN}:without_libvips")
    with pytest.raises(ChildStartError, match="import of pyvips halted"):
        async with ImageRenderer(LIMITS):
            pass


async def test_libvips_reads_nothing_but_jpegs_from_memory(tmp_path: Path) -> None:
    files = {"JPEG": "jpegload", "PNG": "pngload", "WEBP": "webpload", "GIF": "gifload", "TIFF": "tiffload"}
    async with pool("loaders") as children:
        for image_format, loader in files.items():
            path = tmp_path / image_format
            path.write_bytes(saved(quarters(), image_format))
            assert (await children.run(f"{loader} {path}")).startswith("refused")
        drawing = tmp_path / "svg"
        drawing.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', encoding="utf-8")
        assert (await children.run(f"svgload_buffer {drawing}")).startswith("refused")
        assert (await children.run(f"jpegload_buffer {tmp_path / 'JPEG'}")).startswith("240x160")


@pytest.mark.parametrize("mode", ["L", "RGB"])
async def test_libvips_decodes_jpegs_of_odd_sizes(mode: str, tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(saved(quarters((403, 201)).convert(mode), "JPEG", progressive=True))
    async with pool("decoder") as children:
        assert await children.run(str(tmp_path / "odd")) == f"libvips {mode} (100, 50)"


async def test_pillow_decodes_jpegs_that_libvips_must_not(tmp_path: Path) -> None:
    whole = saved(quarters(), "JPEG")
    frame = whole.index(b"\xff\xc0")
    cases = {
        "cmyk": saved(quarters().convert("CMYK"), "JPEG"),
        "another size behind": whole[: frame + 19] + whole[frame : frame + 5] + b"\x7f\xff" + whole[frame + 7 :],
    }
    async with pool("decoder") as children:
        for name, content in cases.items():
            (tmp_path / name).write_bytes(content)
            assert await children.run(str(tmp_path / name)) == "Pillow", name


async def test_libvips_never_sees_metadata(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a description"
    path = tmp_path / "described"
    path.write_bytes(saved(quarters(), "JPEG", exif=exif, xmp=b"<x/>", comment=b"words", icc_profile=b"profile" * 20))
    async with pool("loaders") as children:
        assert "exif" in await children.run(f"jpegload_buffer {path}")
    async with pool("stripped") as children:
        fields = await children.run(f"jpegload_buffer {path}")
    assert not [word for word in ("exif", "xmp", "icc", "comment", "iptc") if word in fields]
