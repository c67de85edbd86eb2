"""Writes HEICs as phones do: a grid of tiles."""

import struct

from PIL import Image

from tests.unit.handlers.image.pictures import saved

TILE = 512


def heic_grid(size: tuple[int, int]) -> bytes:
    """A picture of this size whose tiles all show the same: many pixels, few bytes."""
    tile = Image.radial_gradient("L").resize((TILE, TILE)).convert("RGB")
    source = saved(tile, "HEIF", quality=30)
    configuration = _content(source, b"hvcC")
    data = _content(source, b"mdat")
    width, height = size
    columns, rows = -(-width // TILE), -(-height // TILE)
    count = columns * rows
    grid = struct.pack(">4B2I", 0, 1, rows - 1, columns - 1, width, height)
    ids = range(2, 2 + count)
    items = [_infe(1, b"grid"), *(_infe(number, b"hvc1", hidden=True) for number in ids)]
    references = struct.pack(f">2H{count}H", 1, count, *ids)
    sizes = [box(b"ispe", struct.pack(">3I", 0, *sides)) for sides in ((TILE, TILE), size)]
    owned = struct.pack(">I", count + 1) + struct.pack(">HBB", 1, 1, 3)
    owned += b"".join(struct.pack(">HBBB", number, 2, 0x81, 2) for number in ids)
    properties = box(b"ipco", box(b"hvcC", configuration) + b"".join(sizes)) + box(b"ipma", bytes(4) + owned)

    def meta(start: int) -> bytes:
        places = struct.pack(">HHHII", 1, 0, 1, start, len(grid))
        places += b"".join(struct.pack(">HHHII", number, 0, 1, start + len(grid), len(data)) for number in ids)
        content = [
            box(b"hdlr", bytes(8) + b"pict" + bytes(13)),
            box(b"pitm", struct.pack(">IH", 0, 1)),
            box(b"iloc", struct.pack(">IBBH", 0, 0x44, 0, count + 1) + places),
            box(b"iinf", struct.pack(">IH", 0, count + 1) + b"".join(items)),
            box(b"iref", bytes(4) + box(b"dimg", references)),
            box(b"iprp", properties),
        ]
        return box(b"meta", bytes(4) + b"".join(content))

    head = box(b"ftyp", b"heic\0\0\0\0mif1heic")
    return head + meta(len(head) + len(meta(0)) + 8) + box(b"mdat", grid + data)


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + name + content


def _infe(number: int, kind: bytes, *, hidden: bool = False) -> bytes:
    return box(b"infe", struct.pack(">IHH", 2 << 24 | hidden, number, 0) + kind + b"\0")


def _content(source: bytes, name: bytes) -> bytes:
    at = source.index(name)
    return source[at + 4 : at - 4 + int.from_bytes(source[at - 4 : at])]
