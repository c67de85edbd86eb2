import io
import mmap
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from handlers.image.containers import jpeg


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2) + content


def markers(data: bytes) -> list[int]:
    return [found.marker for found in jpeg.segments(data)]


def test_segments_have_their_offsets() -> None:
    data = b"\xff\xd8" + segment(0xE1, b"abc") + segment(0xDB, b"")
    assert list(jpeg.segments(data)) == [jpeg.JpegSegment(0xE1, 2, 9), jpeg.JpegSegment(0xDB, 9, 13)]


def test_a_scan_ends_with_its_header_and_its_data_hold_no_segment() -> None:
    data = b"\xff\xd8" + segment(0xDA, b"head") + b"\xff\x00data\xff\xd0more" + segment(0xC4, b"x") + b"\xff\xd9"
    first, second = jpeg.segments(data)
    assert (first.marker, first.end) == (jpeg.SCAN, 10)
    assert (second.marker, second.start) == (0xC4, data.index(b"\xff\xc4"))


def test_bytes_after_the_end_marker_are_not_read() -> None:
    assert markers(b"\xff\xd8" + segment(0xE0, b"") + b"\xff\xd9" + segment(0xDA, b"film")) == [0xE0]


@pytest.mark.parametrize("length", [b"\0\0", b"\0\1"])
def test_a_length_that_leaves_no_room_for_itself_counts_as_two(length: bytes) -> None:
    assert list(jpeg.segments(b"\xff\xd8\xff\xe0" + length + segment(0xDB, b""))) == [
        jpeg.JpegSegment(0xE0, 2, 6),
        jpeg.JpegSegment(0xDB, 6, 10),
    ]


def test_fill_bytes_before_a_marker_leave_a_gap() -> None:
    (found,) = jpeg.segments(b"\xff\xd8\xff\xff" + segment(0xE0, b""))
    assert found.start == 4


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"\xff\xd8", []),
        (b"\xff\xd8\xff", []),
        (b"\xff\xd8\xff\xe0", [0xE0]),
        (b"\xff\xd8\xff\xe0\0", [0xE0]),
        (b"\xff\xd8\xff\xe0\xff\xff" + bytes(10), [0xE0]),
    ],
)
def test_a_file_that_is_cut_ends_the_walk(data: bytes, expected: list[int]) -> None:
    assert markers(data) == expected


def test_a_progressive_picture_has_its_scans(tmp_path: Path) -> None:
    out = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(out, "JPEG", progressive=True)
    (tmp_path / "picture").write_bytes(out.getvalue())
    with (tmp_path / "picture").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = [one.marker for one in jpeg.segments(content)]
    assert found.count(jpeg.SCAN) == 10
    assert found == markers(out.getvalue())


@given(st.binary(max_size=200).map(lambda data: data.replace(b"\0", b"\xff")))
def test_any_bytes_end_the_walk(data: bytes) -> None:
    found = list(jpeg.segments(data))
    assert all(one.start < one.end for one in found)
    assert all(before.end <= after.start for before, after in pairwise(found))
