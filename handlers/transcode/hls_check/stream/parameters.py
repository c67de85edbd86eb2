"""A reader of sequence parameter sets: the codec's name by RFC 6381 and the picture's size. Pure."""

from dataclasses import dataclass

_HIGH = {44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244}
"""Profiles whose parameters begin with a chroma format (H.264, 7.3.2.1.1)."""
_RATIOS = (
    # Sample aspect ratios by their number (H.264, table E-1).
    *((0, 1), (1, 1), (12, 11), (10, 11), (16, 11), (40, 33), (24, 11), (20, 11), (32, 11), (80, 33)),
    *((18, 11), (15, 11), (64, 33), (160, 99), (4, 3), (3, 2), (2, 1)),
)
_EXTENDED = 255
"""The number of a ratio that follows in full."""
_MOST_ZEROS = 32
"""Leading zeros that an Exp-Golomb number may have."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """A video's parameters: `codec` by RFC 6381, pixels after cropping, `shown` for the display width.

    `fields` tells of interlaced pictures.
    """

    codec: str
    width: int
    height: int
    shown: int
    fields: bool = False


class _Bits:
    """Big-endian bits, with Exp-Golomb numbers. Raises ValueError behind the end."""

    def __init__(self, data: bytes) -> None:
        self._left = len(data) * 8
        self._value = int.from_bytes(data)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("the parameters end too early")
        return self._value >> self._left & (1 << count) - 1

    def golomb(self) -> int:
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > _MOST_ZEROS:
                raise ValueError("no number")
        return (1 << zeros | self.take(zeros)) - 1

    def skip_golombs(self, count: int) -> None:
        for _ in range(count):
            self.golomb()

    def signed(self) -> int:
        value = self.golomb()
        return (value + 1) // 2 if value & 1 else -(value // 2)


def slice_type(unit: bytes) -> int:
    """Read the type of an H.264 slice, from its NAL header on. 2, 4, 7 and 9 are predicted from no other picture."""
    bits = _Bits(_unescaped(unit[1:16]))
    bits.golomb()
    return bits.golomb()


def avc(unit: bytes) -> Parameters:
    """Read an H.264 sequence parameter set, from its NAL header on (H.264, 7.3.2.1.1). Raises ValueError."""
    body = _unescaped(unit)
    if len(body) < 5:  # header, profile, constraints, level, and something to read
        raise ValueError("the parameters end too early")
    bits = _Bits(body[4:])
    bits.golomb()
    chroma = _avc_chroma(bits) if body[1] in _HIGH else 1
    bits.golomb()
    order = bits.golomb()  # how the order of pictures is coded
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.take(1)
        bits.skip_golombs(2)
        bits.skip_golombs(min(bits.golomb(), 255))
    bits.golomb()
    bits.take(1)
    across, down = bits.golomb() + 1, bits.golomb() + 1
    frames = bits.take(1)
    if not frames:
        bits.take(1)
    bits.take(1)
    crop = [bits.golomb() for _ in range(4)] if bits.take(1) else [0] * 4
    unit_x, unit_y = (2 if chroma in {1, 2} else 1), (2 if chroma == 1 else 1) * (2 - frames)
    width = across * 16 - unit_x * (crop[0] + crop[1])
    height = down * 16 * (2 - frames) - unit_y * (crop[2] + crop[3])
    return Parameters(f"avc1.{body[1:4].hex()}", width, height, _shown(bits, width), not frames)


def _avc_chroma(bits: _Bits) -> int:
    chroma = bits.golomb()
    if chroma == 3:  # 4:4:4 has a flag for separate planes
        bits.take(1)
    bits.skip_golombs(2)
    bits.take(1)
    if bits.take(1):
        for number in range(12 if chroma == 3 else 8):
            if bits.take(1):
                _skip_scaling_list(bits, 16 if number < 6 else 64)  # six lists of 4x4 come first
    return chroma


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


def _shown(bits: _Bits, width: int) -> int:
    """Compute the width for square pixels, by the sample aspect ratio that may begin the usability information."""
    if not (bits.take(1) and bits.take(1)):
        return width
    kind = bits.take(8)
    x, y = (bits.take(16), bits.take(16)) if kind == _EXTENDED else _RATIOS[kind] if kind < len(_RATIOS) else (1, 1)
    return round(width * x / y) if x and y else width


def hevc(unit: bytes) -> Parameters:
    """Read an H.265 sequence parameter set, from its NAL header on (H.265, 7.3.2.2). Raises ValueError.

    The sample aspect ratio stands too far behind to be read, so `shown` is the width.
    """
    bits = _Bits(_unescaped(unit)[2:])
    bits.take(4)
    layers = bits.take(3)
    bits.take(1)
    codec = _hevc_profile(bits)
    present = [(bits.take(1), bits.take(1)) for _ in range(layers)]
    if layers:
        bits.take(2 * (8 - layers))
    for profile, level in present:
        bits.take(88 * profile + 8 * level)
    bits.golomb()
    chroma = bits.golomb()
    if chroma == 3:  # 4:4:4 has a flag for separate planes
        bits.take(1)
    width, height = bits.golomb(), bits.golomb()
    crop = [bits.golomb() for _ in range(4)] if bits.take(1) else [0] * 4
    width -= (2 if chroma in {1, 2} else 1) * (crop[0] + crop[1])
    height -= (2 if chroma == 1 else 1) * (crop[2] + crop[3])
    return Parameters(codec, width, height, width)


def _hevc_profile(bits: _Bits) -> str:
    """Build the name of ISO/IEC 14496-15, annex E: profile, compatibility in reverse bit order, tier and level."""
    space, tier, profile = bits.take(2), bits.take(1), bits.take(5)
    compatible = int(f"{bits.take(32):032b}"[::-1], 2)
    bits.take(48)
    return f"hvc1.{('', 'A', 'B', 'C')[space]}{profile}.{compatible:X}.{'HL'[not tier]}{bits.take(8)}"


def _unescaped(unit: bytes) -> bytes:
    # H.264 and H.265 put a 3 wherever the payload would contain a start code.
    return unit.replace(b"\0\0\3", b"\0\0")
