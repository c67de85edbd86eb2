"""Names the variants of known formats that no decoder here reads, so that they are not called corrupt."""

import mmap
from typing import BinaryIO

from handlers.image.containers import isobmff, jpeg
from media.errors import Code, RejectedError

_PROCESSES = {
    0xC3: "lossless",
    0xC5: "hierarchical",
    0xC6: "hierarchical",
    0xC7: "hierarchical lossless",
    0xCB: "lossless, arithmetic-coded",
    0xCD: "hierarchical, arithmetic-coded",
    0xCE: "hierarchical, arithmetic-coded",
    0xCF: "hierarchical lossless, arithmetic-coded",
}
"""Processes that decoders lack, by the marker of the frame (ITU-T T.81, table B.1)."""
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_JPEG_LS = 0xF7
_BITS = 8
_COMPONENTS = {1, 3, 4}
_READ_CODINGS = {"image/avif": {b"av01"}, "image/heic": {b"hvc1"}, "image/heif": {b"hvc1"}}
_CODINGS = {
    b"unci": "uncompressed",
    b"j2k1": "JPEG 2000",
    b"jpeg": "JPEG",
    b"vvc1": "VVC",
    b"evc1": "EVC",
    b"avc1": "AVC",
    b"av01": "AV1",
    b"hvc1": "HEVC",
    b"lhv1": "layered HEVC",
}
"""Codings of a HEIF's items (ISO/IEC 23008-12 and 23001-17)."""
_WITH_ALPHA_MASK = 56
"""Bytes of the shortest header of a bitmap with a mask of alpha."""
_RUNS_OF_4_BITS = 2
_BIG_BIGTIFF = b"MM\0+"


def refuse_variant(file: BinaryIO, content_type: str) -> None:
    """Raise RejectedError `unsupported`, with the variant's name, for one that no decoder here reads."""
    name = ""
    match content_type:
        case "image/jpeg":
            name = jpeg_variant(file)
        case "image/avif" | "image/heic" | "image/heif":
            name = heif_variant(file, _READ_CODINGS[content_type])
        case "image/bmp":
            name = bitmap_variant(file.read(70))
        case "image/tiff":
            name = "a big-endian BigTIFF" if file.read(4) == _BIG_BIGTIFF else ""
    if name:
        raise RejectedError(Code.UNSUPPORTED, f"{name} is not read")


def bitmap_variant(head: bytes) -> str:
    """Return what Pillow would show wrongly: runs of 4 bits, and alpha unless it is one of four whole bytes."""
    bits, compression = int.from_bytes(head[28:30], "little"), int.from_bytes(head[30:34], "little")
    has_alpha = int.from_bytes(head[14:18], "little") >= _WITH_ALPHA_MASK and any(head[66:70])
    if compression == _RUNS_OF_4_BITS:
        return "a bitmap of runs of 4 bits"
    return f"a bitmap of {bits} bits with alpha" if has_alpha and (bits == 16 or compression == 0) else ""


def jpeg_variant(file: BinaryIO) -> str:
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        frames = (s for s in jpeg.segments(content) if s.marker in {*_FRAMES, _JPEG_LS, jpeg.SCAN})
        frame = next(frames, None)
        if frame is None or frame.marker == jpeg.SCAN:
            return ""
        head = content[frame.start + 4 : frame.start + 10].ljust(6, b"\0")
    bits, components = head[0], head[5]
    if frame.marker == _JPEG_LS:
        return "JPEG-LS"
    if frame.marker in _PROCESSES:
        return f"a {_PROCESSES[frame.marker]} JPEG of {bits} bits"
    if bits > _BITS:
        return f"a JPEG of {bits} bits"
    return f"a JPEG of {components} components" if components and components not in _COMPONENTS else ""


def heif_variant(file: BinaryIO, read: set[bytes]) -> str:
    names = {box.name for box in isobmff.boxes(file)}
    if b"mini" in names and b"meta" not in names:
        return 'a HEIF or AVIF with a "mini" box'
    found = {name for name, _ in isobmff.item_types(file)}
    coded = [_CODINGS[name] for name in sorted(found & _CODINGS.keys())]
    return f"a HEIF of {', '.join(coded)} pictures" if coded and not found & read else ""
