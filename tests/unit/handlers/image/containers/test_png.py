import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.image.containers import png

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def names(data: bytes) -> list[bytes]:
    return [found.name for found in png.chunks(io.BytesIO(data))]


def gray(rows: int, *, pieces: int = 1, interlaced: int = 0) -> bytes:
    """Some rows of a picture of 10 × 10 gray pixels."""
    header = chunk(b"IHDR", struct.pack(">2I5B", 10, 10, 8, 0, 0, 0, interlaced))
    data = zlib.compress(bytes(11) * rows)
    step = -(-len(data) // pieces)
    parts = [chunk(b"IDAT", data[at : at + step]) for at in range(0, len(data), step)]
    return SIGNATURE + header + b"".join(parts) + chunk(b"IEND", b"")


def test_chunks_of_odd_and_no_length_are_found_behind_each_other() -> None:
    data = SIGNATURE + chunk(b"aaaa", b"abc") + chunk(b"bbbb", b"") + chunk(b"cccc", b"x")
    file = io.BytesIO(data)
    assert [(found.name, found.length, file.read(found.length)) for found in png.chunks(file)] == [
        (b"aaaa", 3, b"abc"),
        (b"bbbb", 0, b""),
        (b"cccc", 1, b"x"),
    ]


def test_reading_elsewhere_does_not_lose_the_place() -> None:
    file = io.BytesIO(SIGNATURE + chunk(b"aaaa", b"abc") + chunk(b"bbbb", b""))
    found = []
    for part in png.chunks(file):
        found.append(part.name)
        file.seek(0)
        file.read()
    assert found == [b"aaaa", b"bbbb"]


@pytest.mark.parametrize(("cut", "expected"), [(0, []), (7, []), (8, []), (15, []), (16, [b"aaaa"]), (18, [b"aaaa"])])
def test_a_file_that_is_cut_ends_with_its_last_whole_head(cut: int, expected: list[bytes]) -> None:
    assert names((SIGNATURE + chunk(b"aaaa", b"abc"))[:cut]) == expected


def test_a_length_beyond_the_file_ends_the_walk() -> None:
    assert names(SIGNATURE + b"\xff\xff\xff\xffaaaa" + chunk(b"bbbb", b"")) == [b"aaaa"]


@pytest.mark.parametrize("pieces", [1, 3, 1000])
def test_rows_are_counted_over_all_chunks_of_data(pieces: int) -> None:
    assert png.has_all_rows(io.BytesIO(gray(10, pieces=pieces)))
    assert not png.has_all_rows(io.BytesIO(gray(9, pieces=pieces)))


def test_an_interlaced_picture_takes_more_bytes() -> None:
    """A hundred pixels in seven passes have 25 rows, so 125 bytes; 121 would do without passes."""
    assert not png.is_interlaced(io.BytesIO(gray(10)))
    assert png.is_interlaced(io.BytesIO(gray(10, interlaced=1)))
    assert not png.has_all_rows(io.BytesIO(gray(10, interlaced=1)))
    assert png.has_all_rows(io.BytesIO(gray(12, interlaced=1)))


def test_data_behind_the_end_are_not_counted() -> None:
    behind = gray(10)[33:]
    assert not png.has_all_rows(io.BytesIO(gray(0)[:-12] + chunk(b"IEND", b"") + behind))


@given(st.binary(max_size=200))
def test_any_bytes_end_the_walk(data: bytes) -> None:
    assert len(names(data)) <= len(data) // 12 + 1
