"""Writes ICC profiles for colors that a file describes by primaries and a curve."""

import struct
from dataclasses import dataclass

type Point = tuple[float, float]
type Vector = tuple[float, float, float]
type Matrix = tuple[Vector, Vector, Vector]

D65: Point = (0.3127, 0.3290)
_D50: Vector = (0.9642, 1.0, 0.8249)
_BRADFORD: Matrix = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))


@dataclass(frozen=True, slots=True)
class Primaries:
    """Chromaticities, x and y of CIE 1931."""

    red: Point
    green: Point
    blue: Point
    white: Point = D65


@dataclass(frozen=True, slots=True)
class Curve:
    """A transfer curve: a power, with a linear part near black where `slope` gives one (ICC's parametric type 3)."""

    power: float
    slope: tuple[float, float, float, float] | None = None


SRGB = Primaries((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
REC2020 = Primaries((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
SRGB_CURVE = Curve(2.4, (1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))


def profile_of(primaries: Primaries, curve: Curve, *, gray: bool) -> bytes:
    """Return an ICC profile (version 4) of a display. Raises ZeroDivisionError, struct.error for impossible colors."""
    kind = struct.pack(">HH", 0 if curve.slope is None else 3, 0)
    light = b"para\0\0\0\0" + kind + _fixed(curve.power, *(curve.slope or ()))
    if gray:
        return _profile(b"GRAY", [(b"wtpt", _xyz(_D50)), (b"kTRC", light)])
    names = (b"rXYZ", b"gXYZ", b"bXYZ")
    columns = [(name, _xyz(column)) for name, column in zip(names, _colorants(primaries), strict=True)]
    return _profile(
        b"RGB ", [(b"wtpt", _xyz(_D50)), *columns, *((name, light) for name in (b"rTRC", b"gTRC", b"bTRC"))]
    )


def conversion(source: Primaries, target: Primaries) -> Matrix:
    """Return the matrix from linear colors of one to linear colors of the other."""
    back = _inverse(_columns(*_colorants(target)))
    red, green, blue = (times(back, colorant) for colorant in _colorants(source))
    return _columns(red, green, blue)


def _colorants(primaries: Primaries) -> Matrix:
    """Return the XYZ of each primary at full strength, adapted to a white of D50 (Bradford)."""
    corners = _columns(_light(primaries.red), _light(primaries.green), _light(primaries.blue))
    white = _light(primaries.white)
    strengths = times(_inverse(corners), white)
    seen, wanted = times(_BRADFORD, white), times(_BRADFORD, _D50)
    columns = []
    for column, strength in zip(_columns(*corners), strengths, strict=True):
        cones = times(_BRADFORD, column)
        adapted = [cone * strength * w / s for cone, w, s in zip(cones, wanted, seen, strict=True)]
        columns.append(times(_inverse(_BRADFORD), (adapted[0], adapted[1], adapted[2])))
    return columns[0], columns[1], columns[2]


def _light(point: Point) -> Vector:
    x, y = point
    return x / y, 1.0, (1 - x - y) / y


def _columns(a: Vector, b: Vector, c: Vector) -> Matrix:
    return (a[0], b[0], c[0]), (a[1], b[1], c[1]), (a[2], b[2], c[2])


def times(matrix: Matrix, vector: Vector) -> Vector:
    """Multiply a matrix by a column."""
    a, b, c = (sum(m * v for m, v in zip(row, vector, strict=True)) for row in matrix)
    return a, b, c


def _inverse(matrix: Matrix) -> Matrix:
    a, b, c = matrix
    scale = sum(x * y for x, y in zip(a, _cross(b, c), strict=True))
    x, y, z = (tuple(value / scale for value in _cross(*pair)) for pair in ((b, c), (c, a), (a, b)))
    return _columns((x[0], x[1], x[2]), (y[0], y[1], y[2]), (z[0], z[1], z[2]))


def _cross(a: Vector, b: Vector) -> Vector:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65_536) for value in values))


def _xyz(vector: Vector) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(*vector)


def _profile(space: bytes, tags: list[tuple[bytes, bytes]]) -> bytes:
    start = 128 + 4 + 12 * len(tags)
    table, data = struct.pack(">I", len(tags)), b""
    for name, content in tags:
        table += name + struct.pack(">2I", start + len(data), len(content))
        data += content
    created = struct.pack(">6H", 2024, 1, 1, 0, 0, 0)
    head = struct.pack(">I4sI4s4s4s", start + len(data), b"", 0x04200000, b"mntr", space, b"XYZ ") + created + b"acsp"
    return head.ljust(68, b"\0") + _fixed(*_D50).ljust(60, b"\0") + table + data
