"""Of a PNG the decoder gets what the pixels need, with numbers that fit the depth."""

import io
import struct
import zlib

import pytest
from PIL import Image

from handlers.image.containers.png_pixels import pixel_parts
from handlers.image.containers.spliced import SplicedFile
from tests.unit.handlers.image.pngs import SIGNATURE, apng, chunk

HEADER = chunk(b"IHDR", struct.pack(">2I5B", 9, 7, 8, 0, 0, 0, 0))
DATA = chunk(b"IDAT", zlib.compress(bytes(10 * 7)))
END = chunk(b"IEND", b"")
PLAIN = SIGNATURE + HEADER + DATA + END


def handed(data: bytes) -> bytes:
    """What a decoder reads of these bytes."""
    file = io.BytesIO(data)
    return SplicedFile(file, pixel_parts(file)).readall()


def bad(made: bytes) -> bytes:
    """A chunk with another checksum."""
    return made[:-1] + bytes([made[-1] ^ 1])


@pytest.mark.parametrize(
    "ancillary",
    [
        pytest.param(bad(chunk(b"gAMA", b"\0\1\0\0")), id="checksum"),
        pytest.param(chunk(b"gAMA", b"\0"), id="short gamma"),
        pytest.param(chunk(b"cHRM", bytes(31)), id="short chromaticities"),
        pytest.param(chunk(b"sRGB", b""), id="empty"),
        pytest.param(chunk(b"pHYs", b"\0"), id="short density"),
        pytest.param(chunk(b"iCCP", b"name\0\0no zlib"), id="profile"),
        pytest.param(chunk(b"iCCP", b"name\0\1" + zlib.compress(b"x")), id="method"),
        pytest.param(chunk(b"iTXt", b"Comment\0\0"), id="text"),
        pytest.param(chunk(b"PLTE", bytes(4)), id="palette of a gray picture"),
        pytest.param(chunk(b"tRNS", bytes(3)), id="odd key"),
        pytest.param(chunk(b"acTL", bytes(7)), id="short acTL"),
        pytest.param(chunk(b"acTL", struct.pack(">2I", 3, 0)), id="acTL without frames"),
        pytest.param(chunk(b"acTL", bytes(8)) + chunk(b"fcTL", bytes(26)), id="frame of no size"),
        pytest.param(chunk(b"fcTL", bytes(26)), id="frame without acTL"),
    ],
)
def test_bad_metadata_are_left_out(ancillary: bytes) -> None:
    assert handed(SIGNATURE + HEADER + ancillary + DATA + END) == PLAIN


@pytest.mark.parametrize("behind", [b"", b"\0\0\0\0IEND", b"\0\0", END + b"garbage", bytes(100)])
def test_end_is_the_only_thing_that_may_be_missing(behind: bytes) -> None:
    assert handed(SIGNATURE + HEADER + DATA + behind) == PLAIN


def test_data_that_are_cut_are_handed_on_as_they_are() -> None:
    cut = handed(SIGNATURE + HEADER + DATA[:-9])
    assert cut.startswith(SIGNATURE + HEADER + struct.pack(">I", len(DATA) - 12 - 5) + DATA[4:-9])


@pytest.mark.parametrize(
    ("depth", "color", "key", "handed_key"),
    [
        (1, 0, (1,), (1,)),
        (2, 0, (3,), (255,)),
        (2, 0, (1,), (85,)),
        (4, 0, (15,), (255,)),
        (4, 0, (0xFF02,), (34,)),
        (8, 0, (200,), (200,)),
        (16, 0, (0x1234,), (0x1234,)),
        (8, 2, (1, 2, 0xFF03), (1, 2, 3)),
        (16, 2, (0x0102, 0x0003, 0xFFFF), (1, 0, 255)),
    ],
)
def test_transparent_value_has_the_depth_of_what_decoders_return(
    depth: int, color: int, key: tuple[int, ...], handed_key: tuple[int, ...]
) -> None:
    header = chunk(b"IHDR", struct.pack(">2I5B", 9, 7, depth, color, 0, 0, 0))
    stored, expected = (struct.pack(f">{len(key)}H", *values) for values in (key, handed_key))
    data = handed(SIGNATURE + header + chunk(b"tRNS", stored) + DATA + END)
    assert data == SIGNATURE + header + chunk(b"tRNS", expected) + DATA + END


@pytest.mark.parametrize(("told", "shown"), [(3, 3), (5, 3), (1_000_000_000, 3), (2, 2)])
def test_frames_are_counted(told: int, shown: int) -> None:
    data = apng((9, 7), 3).replace(
        chunk(b"acTL", struct.pack(">2I", 3, 0)), chunk(b"acTL", struct.pack(">2I", told, 0))
    )
    with Image.open(io.BytesIO(handed(data))) as image:
        assert getattr(image, "n_frames", 1) == shown


def test_animation_out_of_order_leaves_its_picture() -> None:
    data = apng((9, 7), 3)
    at = data.index(b"fdAT")
    with Image.open(io.BytesIO(handed(data[: at + 4] + bytes([9]) + data[at + 5 :]))) as image:
        image.load()
        assert getattr(image, "n_frames", 1) == 1


def test_animation_that_is_cut_stays_incomplete() -> None:
    data = apng((9, 7), 3)
    with Image.open(io.BytesIO(handed(data[: data.rindex(b"fcTL")]))) as image:
        assert getattr(image, "n_frames", 1) == 3
