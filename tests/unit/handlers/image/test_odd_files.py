"""Files with false headers, and files that are damaged after their first picture."""

import asyncio
import struct
import zlib
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from media.errors import Code, RejectedError
from tests.unit.handlers.image.conftest import Render
from tests.unit.handlers.image.pictures import difference, many_scans, opened, quarters, saved
from tests.unit.handlers.image.pngs import apng, chunk

MANY = 0x3FFFFFFF


def tiff(entries: list[tuple[int, int, int, int]], following: int) -> bytes:
    """A TIFF of one directory at byte 8, whose successor is said to lie at `following`."""
    fields = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + fields + struct.pack("<I", following)


def endless_strips() -> bytes:
    """A billion strips of a 100 × 100 picture, in a directory that is its own successor."""
    plain = [(256, 4, 1, 100), (257, 4, 1, 100), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    return tiff([*plain, (273, 4, MANY, 8), (277, 3, 1, 1), (278, 4, 1, 1), (279, 4, MANY, 8)], 8)


def vast_directory() -> bytes:
    return tiff([(0x9000 + number % 100, 2, 0xFFFFFFFF, 8) for number in range(65_535)], 0)


def avif(box: bytes, offset: int, content: bytes) -> bytes:
    """A sound AVIF with other bytes at an offset from the name of one of its boxes."""
    data = bytearray(saved(quarters((64, 48)), "AVIF", speed=10))
    at = data.index(box) + offset
    data[at : at + len(content)] = content
    return bytes(data)


def grid_of_nothing() -> bytes:
    """The item that holds the picture calls itself a grid of others."""
    data = bytearray(saved(quarters((64, 48)), "AVIF", speed=10))
    at = data.index(b"av01", data.index(b"infe"))
    data[at : at + 4] = b"grid"
    return bytes(data)


def billion_frames() -> bytes:
    data = bytearray(apng((20, 20), 3))
    at = data.index(b"acTL")
    told = struct.pack(">2I", 1_000_000_000, 0)
    data[at + 4 : at + 16] = told + struct.pack(">I", zlib.crc32(b"acTL" + told))
    return bytes(data)


def webp_of(frames: int, canvas: tuple[int, int] = (16, 16)) -> bytes:
    """An animation that repeats its first frame; frames in WebP are counted by nobody but who reads them all."""
    first, second = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (16, 16), "blue")
    data = saved(first, "WEBP", save_all=True, append_images=[second], lossless=True)
    at = data.index(b"ANMF")
    size = 8 + int.from_bytes(data[at + 4 : at + 8], "little")
    body = bytearray(data[:at] + data[at : at + size + size % 2] * frames)
    body[4:8] = struct.pack("<I", len(body) - 8)
    side = body.index(b"VP8X") + 12
    body[side : side + 6] = b"".join((edge - 1).to_bytes(3, "little") for edge in canvas)
    return bytes(body)


def vast_webp(*, lossless: bool) -> bytes:
    """A sound file, but for the size in the header of its only picture."""
    data = bytearray(saved(quarters((64, 48)), "WEBP", lossless=lossless))
    if lossless:
        data[21:25] = (int.from_bytes(data[21:25], "little") | 0xFFFFFFF).to_bytes(4, "little")
    else:
        data[26:30] = struct.pack("<2H", 16_383, 16_383)
    return bytes(data)


@pytest.mark.parametrize(
    ("source", "codes"),
    [
        pytest.param(endless_strips(), {Code.CORRUPT}, id="a billion strips"),
        pytest.param(vast_directory(), {Code.CORRUPT}, id="65535 tags of 4 GB"),
        pytest.param(grid_of_nothing(), {Code.CORRUPT}, id="grid of nothing"),
        pytest.param(avif(b"ispe", 8, struct.pack(">2I", 60_000, 60_000)), {Code.CORRUPT}, id="ispe of 3600 MP"),
        pytest.param(avif(b"ispe", 8, struct.pack(">2I", 12_000, 9000)), {Code.TOO_MANY_PIXELS}, id="ispe of 108 MP"),
        pytest.param(webp_of(3, (16_383, 16_383)), {Code.TOO_MANY_PIXELS}, id="canvas of 268 MP"),
        pytest.param(vast_webp(lossless=True), {Code.TOO_MANY_PIXELS}, id="lossless of 268 MP"),
        pytest.param(vast_webp(lossless=False), {Code.TOO_MANY_PIXELS}, id="lossy of 268 MP"),
        pytest.param(saved(quarters(), "TIFF", compression="tiff_lzw")[:-900], {Code.CORRUPT}, id="cut LZW TIFF"),
    ],
)
async def test_file_with_false_headers_is_rejected(
    source: bytes, codes: set[Code], render: Render, tmp_path: Path
) -> None:
    with pytest.raises(RejectedError) as refused:
        await render(source)
    assert refused.value.code in codes
    assert not list((tmp_path / "out").iterdir())


async def test_of_a_billion_announced_frames_those_that_are_there_are_shown(render: Render) -> None:
    rendered = await render(billion_frames())
    assert rendered.notes == ("animated: 3 frames",)


async def test_an_avif_enlarged_by_its_header_stays_within_the_limits_of_a_child(render: Render) -> None:
    """libavif enlarges what is coded to the size that the header names: to 81 megapixels, from 64 × 48."""
    rendered = await render(avif(b"ispe", 8, struct.pack(">2I", 9000, 9000)))
    assert (rendered.width, rendered.height) == (9000, 9000)


def noise(mode: str = "RGB") -> Image.Image:
    return Image.effect_noise((200, 150), 60).convert(mode)


def moving(kind: str) -> bytes:
    target = BytesIO()
    noise().save(target, kind, save_all=True, append_images=[noise(), noise()], duration=100)
    return target.getvalue()


WHOLE = {
    "jpeg": saved(noise(), "JPEG"),
    "progressive": saved(noise(), "JPEG", progressive=True),
    "png": saved(noise(), "PNG"),
    "apng": moving("PNG"),
    "webp": saved(noise(), "WEBP"),
    "lossless": saved(noise(), "WEBP", lossless=True),
    "moving webp": moving("WEBP"),
    "gif": saved(noise(), "GIF"),
    "moving gif": moving("GIF"),
    "tiff": saved(noise(), "TIFF"),
    "tiff lzw": saved(noise(), "TIFF", compression="tiff_lzw"),
    "tiff jpeg": saved(noise(), "TIFF", compression="jpeg"),
    "avif": saved(noise(), "AVIF", speed=10),
    "heic": saved(noise(), "HEIF"),
}


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.97])
async def test_a_picture_that_is_cut_is_corrupt_whatever_its_format(kind: str, part: float, render: Render) -> None:
    whole = WHOLE[kind]
    with pytest.raises(RejectedError, match="corrupt"):
        await render(whole[: int(len(whole) * part)])


def short_png(rows: int, *, filler: int, interlaced: int = 0) -> bytes:
    """Data that end in good order after some of 100 rows of 100 gray pixels."""
    header = struct.pack(">2I5B", 100, 100, 8, 0, 0, 0, interlaced)
    data = zlib.compress((b"\0" + bytes([filler]) * 100) * rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("filler", [0, 200])
@pytest.mark.parametrize("rows", [1, 99])
async def test_a_png_that_has_only_some_of_its_rows_is_corrupt(rows: int, filler: int, render: Render) -> None:
    with pytest.raises(RejectedError, match="corrupt"):
        await render(short_png(rows, filler=filler))


async def test_an_interlaced_png_that_has_only_some_of_its_rows_is_corrupt(render: Render) -> None:
    with pytest.raises(RejectedError, match="corrupt"):
        await render(short_png(60, filler=200, interlaced=1))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
async def test_a_png_that_ends_in_black_is_whole(mode: str, render: Render) -> None:
    assert (await render(saved(Image.new(mode, (101, 77)), "PNG"))).width == 101


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 9), (101, 77)])
async def test_an_interlaced_png_is_whole(size: tuple[int, int], render: Render) -> None:
    pyvips = pytest.importorskip("pyvips")
    gray = pyvips.Image.black(*size) + 9
    assert (await render(gray.cast("uchar").pngsave_buffer(interlace=True))).width == size[0]


def many_chunks() -> bytes:
    data = saved(quarters(), "PNG")
    return data[:33] + chunk(b"tEXt", b"k\0v") * 150_000 + data[33:]


def many_items(kind: str) -> bytes:
    """It is refused for their number before anybody looks whether they make sense."""
    data = bytearray(saved(quarters(), kind))
    items = b"\0\0\0\x15infe\2\0\0\0\0\1\0\0av01\0" * 20_000
    meta, iinf = data.index(b"meta") - 4, data.index(b"iinf") - 4
    end = iinf + int.from_bytes(data[iinf : iinf + 4])
    for box in (meta, iinf):
        data[box : box + 4] = (int.from_bytes(data[box : box + 4]) + len(items)).to_bytes(4)
    data[end:end] = items
    return bytes(data)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(many_scans(), id="10000 scans"),
        pytest.param(many_scans(400, (5000, 4000)), id="400 scans of 20 megapixels"),
        pytest.param(many_chunks(), id="150000 chunks"),
        pytest.param(many_items("AVIF"), id="20000 items of an AVIF"),
        pytest.param(many_items("HEIF"), id="20000 items of a HEIC"),
    ],
)
async def test_a_file_of_too_many_parts_is_refused_before_it_is_read(source: bytes, render: Render) -> None:
    async with asyncio.timeout(20):
        with pytest.raises(RejectedError, match="resource_limit"):
            await render(source)


async def test_what_follows_a_png_is_no_part_of_it(render: Render) -> None:
    assert (await render(saved(quarters(), "PNG") + bytes(12_000_000))).files


async def test_as_many_parts_as_are_common_are_read(render: Render) -> None:
    assert (await render(many_scans(100))).files


async def test_twenty_thousand_frames_are_one_picture_or_a_limit(render: Render) -> None:
    rendered = await render(webp_of(20_000))
    assert (rendered.width, rendered.height) == (16, 16)
    with Image.open(rendered.files[0].path) as image:
        assert getattr(image, "n_frames", 1) in {1, 20_000}


@pytest.mark.parametrize("damage", ["cut", "zeroed"])
async def test_the_first_picture_of_two_counts(damage: str, render: Render) -> None:
    picture = quarters((400, 300))
    target = BytesIO()
    picture.save(target, "MPO", save_all=True, append_images=[picture.rotate(180)])
    data = bytearray(target.getvalue())
    second = data.index(b"\xff\xd8\xff", 1000)
    if damage == "cut":
        del data[second + 200 :]
    else:
        data[second : second + 600] = bytes(600)
    rendered = await render(bytes(data))
    assert (rendered.width, rendered.height) == (400, 300)
    assert difference(opened(rendered), picture) < 6


async def test_a_tiff_of_several_pages_shows_the_first_and_says_so(render: Render) -> None:
    pages = [quarters(), quarters().rotate(180)]
    rendered = await render(saved(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    assert rendered.notes == ("first_page: of a file that holds several",)
    assert difference(opened(rendered), quarters()) < 6
