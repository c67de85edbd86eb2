"""Reads how a TIFF stores its samples, and refuses TIFFs that Pillow would silently show wrongly.

The lists here were found by rendering a ramp in every layout that Pillow opens, and comparing the results.
"""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImagePalette, TiffImagePlugin
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    COLORMAP,
    COMPRESSION,
    COMPRESSION_INFO,
    EXTRASAMPLES,
    FILLORDER,
    IMAGELENGTH,
    IMAGEWIDTH,
    OPEN_INFO,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    SAMPLEFORMAT,
    STRIPOFFSETS,
    TILEOFFSETS,
)

from handlers.image.decoding.source import decoding
from media.errors import Code, RejectedError

_NEW_SUBFILE_TYPE, _SUBFILE_TYPE = 254, 255
_REDUCED, _OLD_REDUCED = 1, 2
_WHITE_IS_ZERO, _RGB, _CMYK, _YCBCR = 0, 2, 5, 6
_SIGNED = 2
_SEPARATE = 2
_REVERSED = 2
_BYTE = 8
_LARGEST_BYTE = 255
_NATIVE = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}
"""Raw modes to replace. libtiff returns samples in the machine's byte order; here Pillow assumes the file's."""
_HEADER, _BIG_HEADER, _BIG = 8, 16, 43


@dataclass(frozen=True, slots=True)
class Samples:
    """The format of gray samples: bits of one, whether it has a sign, whether zero is white."""

    bits: int = 16
    signed: bool = False
    white_is_zero: bool = False


def samples_of(image: Image.Image) -> Samples:
    """Return the format that a TIFF declares; plain 16 bits for every other format."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return Samples()
    tags = image.tag_v2
    return Samples(
        bits=tags.get(BITSPERSAMPLE, (1,))[0],
        signed=tags.get(SAMPLEFORMAT, (1,))[0] == _SIGNED,
        white_is_zero=tags.get(PHOTOMETRIC_INTERPRETATION, _WHITE_IS_ZERO) == _WHITE_IS_ZERO,
    )


def prepare(image: Image.Image) -> None:
    """Make Pillow decode an opened TIFF correctly. Raises RejectedError `unsupported` where it cannot.

    Does nothing to other formats.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    if reason := _why_misread(image):
        raise RejectedError(Code.UNSUPPORTED, f"a TIFF {reason}")
    palette = image.tag_v2.get(COLORMAP, ())
    if image.mode.startswith("P") and palette and max(palette) <= _LARGEST_BYTE:
        # Values of 16 bits are the rule. Pillow takes their upper byte, which is 0 where a writer stored 8 bits.
        image.palette = ImagePalette.raw("RGB;L", bytes(palette))
    tile = image.tile[0]
    if tile.codec_name == "libtiff" and isinstance(tile.args, tuple):
        raw, *others = tile.args
        image.tile = [tile._replace(args=(_NATIVE.get(raw, raw), *others))]


def _why_misread(image: TiffImagePlugin.TiffImageFile) -> str:
    """Return why Pillow would show this TIFF wrongly; empty when it would not."""
    tags, compression = image.tag_v2, image.info["compression"]
    bits, photometric = tags.get(BITSPERSAMPLE, (1,)), tags.get(PHOTOMETRIC_INTERPRETATION, _WHITE_IS_ZERO)
    several = len(bits) > 1
    if tags.get(_NEW_SUBFILE_TYPE, 0) & _REDUCED or tags.get(_SUBFILE_TYPE, 0) == _OLD_REDUCED:
        return "whose first picture is a small copy of another one, as in raw files of cameras"
    if photometric == _YCBCR and several and compression not in {"jpeg", "tiff_jpeg"}:
        return "in YCbCr without JPEG"
    if several and tags.get(PLANAR_CONFIGURATION, 1) == _SEPARATE:
        deep_raw = compression == "raw" and bits[0] > _BYTE
        if photometric not in {_RGB, _CMYK} or deep_raw or tags.get(FILLORDER, 1) == _REVERSED:
            return f"with separate planes of {bits[0]} bits, photometric {photometric}, {compression}"
    return ""


def refusal(path: Path, error: RejectedError) -> RejectedError:
    """Return the error for a TIFF that Pillow did not open: `unsupported` when only its layout is at fault."""
    with path.open("rb") as file, decoding():
        header = file.read(_HEADER)
        header += file.read(_BIG_HEADER - _HEADER) if header[2] == _BIG else b""
        tags = TiffImagePlugin.ImageFileDirectory_v2(header)
        file.seek(tags.next)
        tags.load(file)
        sides = tags.get(IMAGEWIDTH), tags.get(IMAGELENGTH)
        has_size = all(isinstance(side, int) and side > 0 for side in sides)
        if not has_size or not (STRIPOFFSETS in tags or TILEOFFSETS in tags):
            return error
        bits, sample = tags.get(BITSPERSAMPLE, (1,)), tags.get(SAMPLEFORMAT, (1,))
        photometric, compression = tags.get(PHOTOMETRIC_INTERPRETATION, _WHITE_IS_ZERO), tags.get(COMPRESSION, 1)
        layout = tags.prefix, photometric, sample[:1], bits, tags.get(EXTRASAMPLES, ())
    known = {(order, photo, form, widths, extra) for order, photo, form, _, widths, extra in OPEN_INFO}
    if layout in known and compression in COMPRESSION_INFO:
        return error
    text = f"of {bits} bits, sample format {sample}, photometric {photometric}, compression {compression}"
    return RejectedError(Code.UNSUPPORTED, f"a TIFF {text}"[:200])
