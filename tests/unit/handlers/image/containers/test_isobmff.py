import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from handlers.image.containers import isobmff


def box(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


def long_box(name: bytes, content: bytes = b"", *, size: int | None = None) -> bytes:
    """A box whose size has 64 bits."""
    return struct.pack(">I4sQ", 1, name, 16 + len(content) if size is None else size) + content


def names(data: bytes) -> list[bytes]:
    return [found.name for found in isobmff.boxes(io.BytesIO(data))]


def test_a_box_comes_before_those_that_it_holds() -> None:
    nested = box(b"meta", bytes(4) + box(b"iprp", box(b"ipco", box(b"ispe", b"12") + box(b"av1C"))))
    file = io.BytesIO(box(b"ftyp", b"avif") + nested + box(b"mdat", b"odd"))
    found = [(one.name, one.length, file.read(one.length)[:4]) for one in isobmff.boxes(file)]
    assert [name for name, _, _ in found] == [b"ftyp", b"meta", b"iprp", b"ipco", b"ispe", b"av1C", b"mdat"]
    assert found[0] == (b"ftyp", 4, b"avif")
    assert found[4:] == [(b"ispe", 2, b"12"), (b"av1C", 0, b""), (b"mdat", 3, b"odd")]


@pytest.mark.parametrize("head", [bytes(6), b"\1" + bytes(7)])
def test_items_are_found_behind_a_count_of_either_width(head: bytes) -> None:
    assert names(box(b"meta", bytes(4) + box(b"iinf", head + box(b"infe") * 2))) == [b"meta", b"iinf", b"infe", b"infe"]


def test_a_size_of_64_bits_is_followed() -> None:
    data = long_box(b"meta", bytes(4) + long_box(b"ipco", box(b"colr", b"nclx"))) + box(b"free")
    assert names(data) == [b"meta", b"ipco", b"colr", b"free"]


@pytest.mark.parametrize("size", [0, 15, 1 << 63, (1 << 64) - 1])
def test_a_size_of_64_bits_that_makes_no_sense_ends_the_walk(size: int) -> None:
    """Too small there is no box; too large it reaches to the end."""
    assert names(box(b"ftyp") + long_box(b"mdat", size=size) + box(b"free")) == [
        b"ftyp",
        *([b"mdat"] if size > 15 else []),
    ]


def test_a_size_of_zero_reaches_to_the_end_of_the_parent() -> None:
    assert names(box(b"meta", bytes(4) + b"\0\0\0\0iprp" + box(b"ipco")) + box(b"free")) == [
        b"meta",
        b"iprp",
        b"ipco",
        b"free",
    ]


@pytest.mark.parametrize("size", range(2, 8))
def test_a_size_below_the_head_s_own_costs_the_rest_of_the_parent_only(size: int) -> None:
    damaged = struct.pack(">I4s", size, b"iprp") + box(b"ipco")
    assert names(box(b"meta", bytes(4) + damaged) + box(b"free")) == [b"meta", b"free"]


def test_a_box_ends_with_its_parent_at_the_latest() -> None:
    beyond = struct.pack(">I4s", 1000, b"iprp")
    found = list(isobmff.boxes(io.BytesIO(box(b"meta", bytes(4) + beyond) + box(b"free"))))
    assert [one.name for one in found] == [b"meta", b"iprp", b"free"]
    assert found[0].end == found[1].end == 20


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_file_that_is_cut_ends_the_walk(cut: int) -> None:
    whole = box(b"meta", bytes(4) + long_box(b"ipco", box(b"colr")))
    found = names(whole[:cut])
    assert found == [b"meta", b"ipco", b"colr"][: len(found)]
    assert len(found) == (cut >= 8) + (cut >= 28) + (cut >= 36)


def test_a_parent_too_short_for_its_own_bytes_holds_nothing() -> None:
    assert names(box(b"meta", b"12") + box(b"av01", bytes(20)) + box(b"iinf") + box(b"free")) == [
        b"meta",
        b"av01",
        b"iinf",
        b"free",
    ]


def test_boxes_nested_without_end_are_walked_in_one_pass() -> None:
    data = b"".join(struct.pack(">I4s", 0, b"trak") for _ in range(50_000))
    assert len(names(data)) == 50_000


def test_boxes_of_an_encoder_are_read() -> None:
    out = io.BytesIO()
    Image.new("RGB", (16, 16)).save(out, "AVIF", speed=10)
    found = names(out.getvalue())
    assert found[0] == b"ftyp"
    assert {b"meta", b"iinf", b"infe", b"iprp", b"ipco", b"ispe", b"av1C", b"mdat"} <= set(found)


@given(st.lists(st.sampled_from([b"\0\0\0", b"\1", b"\x08", b"\x10", b"meta", b"iinf", b"moov", b"av01", b"\xff" * 4])))
def test_any_bytes_end_the_walk(parts: list[bytes]) -> None:
    data = b"".join(parts)
    assert len(names(data)) <= len(data) // 8
