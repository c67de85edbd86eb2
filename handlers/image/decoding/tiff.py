"""What a TIFF says about its samples, and which TIFFs Pillow would show wrongly without a word.

The lists here were found by rendering a ramp in every layout that Pillow opens, and comparing.
"""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, TiffImagePlugin
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
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
_NATIVE = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}
"""libtiff gives samples in the machine's order; for these Pillow takes them to be in the file's."""
_HEADER, _BIG_HEADER, _BIG = 8, 16, 43


@dataclass(frozen=True, slots=True)
class Samples:
    """How numbers stand for greys: bits of one, whether it has a sign, whether the least is white."""

    bits: int = 16
    signed: bool = False
    white_is_zero: bool = False


def samples_of(image: Image.Image) -> Samples:
    """As the TIFF says; plain 16 bits for every other format."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return Samples()
    tags = image.tag_v2
    return Samples(
        bits=tags.get(BITSPERSAMPLE, (1,))[0],
        signed=tags.get(SAMPLEFORMAT, (1,))[0] == _SIGNED,
        white_is_zero=tags.get(PHOTOMETRIC_INTERPRETATION, _WHITE_IS_ZERO) == _WHITE_IS_ZERO,
    )


def prepare(image: Image.Image) -> None:
    """Sees to it that an opened TIFF is decoded as it is meant. Raises RejectedError `unsupported` where it cannot be.

    Does nothing to other formats.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    if reason := _misread(image):
        raise RejectedError(Code.UNSUPPORTED, f"a TIFF {reason}")
    tile = image.tile[0]
    if tile.codec_name == "libtiff" and isinstance(tile.args, tuple):
        raw, *others = tile.args
        image.tile = [tile._replace(args=(_NATIVE.get(raw, raw), *others))]


def _misread(image: TiffImagePlugin.TiffImageFile) -> str:
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
    """Why a TIFF that Pillow did not open is refused: `unsupported` when only its layout is at fault."""
    with path.open("rb") as file, decoding():
        header = file.read(_HEADER)
        header += file.read(_BIG_HEADER - _HEADER) if header[2] == _BIG else b""
        tags = TiffImagePlugin.ImageFileDirectory_v2(header)
        file.seek(tags.next)
        tags.load(file)
        sides = tags.get(IMAGEWIDTH), tags.get(IMAGELENGTH)
        sound = all(isinstance(side, int) and side > 0 for side in sides)
        if not sound or not (STRIPOFFSETS in tags or TILEOFFSETS in tags):
            return error
        bits, sample = tags.get(BITSPERSAMPLE, (1,)), tags.get(SAMPLEFORMAT, (1,))
        photometric, compression = tags.get(PHOTOMETRIC_INTERPRETATION, _WHITE_IS_ZERO), tags.get(COMPRESSION, 1)
        layout = tags.prefix, photometric, sample[:1], bits, tags.get(EXTRASAMPLES, ())
    known = {(order, photo, form, widths, extra) for order, photo, form, _, widths, extra in OPEN_INFO}
    if layout in known and compression in COMPRESSION_INFO:
        return error
    told = f"of {bits} bits, sample format {sample}, photometric {photometric}, compression {compression}"
    return RejectedError(Code.UNSUPPORTED, f"a TIFF {told}"[:200])
