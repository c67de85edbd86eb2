"""Computes what a page shows before the picture is loaded: a ThumbHash and the dominant color."""

import base64
import functools
import math
import operator

from PIL import Image

SIDE = 32
"""Pixels of the longer side that is hashed. The hash keeps at most seven waves a side, so more has no effect."""
_OPAQUE_ENOUGH = 128
"""Alpha from which a pixel counts as visible."""
_PALETTE = 8
"""Colors among which the dominant one is chosen."""


class _Channel:
    """One channel as ThumbHash stores it: its mean, its waves from 0 to 1, and the strength that scales them."""

    def __init__(self, values: list[float], width: int, height: int, waves: tuple[int, int]) -> None:
        across, down = waves
        rows = [_waves(values[y * width : (y + 1) * width], across) for y in range(height)]
        columns = [_waves([row[cx] for row in rows], down) for cx in range(across)]
        factors = [columns[cx][cy] for cy in range(down) for cx in range(across) if cx * down < across * (down - cy)]
        self.mean = factors[0]
        self.strength = max((abs(f) for f in factors[1:]), default=0.0)
        self.waves = [0.5 + 0.5 / self.strength * f if self.strength else f for f in factors[1:]]


def _waves(values: list[float], count: int) -> list[float]:
    """Return the first `count` terms of the cosine transform."""
    n = len(values)
    return [sum(map(operator.mul, values, wave)) / n for wave in cosines(n, count)]


@functools.cache
def cosines(n: int, count: int) -> tuple[tuple[float, ...], ...]:
    """Return the first `count` cosines, each at `n` places: sides are `SIDE` at most, so a few tables are kept."""
    return tuple(tuple(math.cos(math.pi / n * k * (i + 0.5)) for i in range(n)) for k in range(count))


def thumbhash(image: Image.Image) -> str:
    """Return the ThumbHash (evanw/thumbhash) of an RGB or RGBA picture of any size, in base64."""
    small = image.convert("RGBA")
    small.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    (width, height), rgba = small.size, small.tobytes()
    alpha = [value / 255 for value in rgba[3::4]]
    has_alpha = sum(alpha) < width * height
    red, green, blue = (_over_average(rgba[band::4], alpha) for band in range(3))
    limit, longest = (5 if has_alpha else 7), max(width, height)
    lx, ly = max(1, _round(limit * width / longest)), max(1, _round(limit * height / longest))
    channels = [
        _Channel(
            [(r + g + b) / 3 for r, g, b in zip(red, green, blue, strict=True)], width, height, (max(3, lx), max(3, ly))
        ),
        _Channel([(r + g) / 2 - b for r, g, b in zip(red, green, blue, strict=True)], width, height, (3, 3)),
        _Channel([r - g for r, g in zip(red, green, strict=True)], width, height, (3, 3)),
    ]
    if has_alpha:
        channels.append(_Channel(alpha, width, height, (5, 5)))
    head = _head(channels, landscape=width > height, waves=ly if width > height else lx)
    nibbles = [_round(15 * wave) for channel in channels for wave in channel.waves]
    nibbles += [0] * (len(nibbles) % 2)
    tail = bytes(low | high << 4 for low, high in zip(nibbles[::2], nibbles[1::2], strict=True))
    return base64.b64encode(head + tail).decode()


def _over_average(band: bytes, alpha: list[float]) -> list[float]:
    """Return a color band, 0 to 1, blended with its own mean where it is transparent."""
    weight = sum(alpha)
    mean = sum(a * value / 255 for a, value in zip(alpha, band, strict=True)) / weight if weight else 0.0
    return [mean * (1 - a) + a * value / 255 for a, value in zip(alpha, band, strict=True)]


def _head(channels: list[_Channel], *, landscape: bool, waves: int) -> bytes:
    light, p, q, *alpha = channels
    first = (
        _round(63 * light.mean)
        | _round(31.5 + 31.5 * p.mean) << 6
        | _round(31.5 + 31.5 * q.mean) << 12
        | _round(31 * light.strength) << 18
        | bool(alpha) << 23
    )
    second = waves | _round(63 * p.strength) << 3 | _round(63 * q.strength) << 9 | landscape << 15
    extra = bytes(_round(15 * a.mean) | _round(15 * a.strength) << 4 for a in alpha)
    return first.to_bytes(3, "little") + second.to_bytes(2, "little") + extra


def _round(value: float) -> int:
    return math.floor(value + 0.5)


def dominant_color(image: Image.Image) -> str:
    """Return `#rrggbb`: the most frequent of eight colors of the visible pixels; white when none is visible."""
    small = image.convert("RGBA")
    small.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    raw = small.tobytes()
    visible = b"".join(raw[at : at + 3] for at in range(0, len(raw), 4) if raw[at + 3] >= _OPAQUE_ENOUGH)
    if not visible:
        return "#ffffff"
    line = Image.frombytes("RGB", (len(visible) // 3, 1), visible).quantize(_PALETTE, Image.Quantize.MEDIANCUT)
    counts: list[int] = line.histogram()
    fullest = counts.index(max(counts))
    palette = line.getpalette() or [255] * 768
    return "#" + bytes(palette[3 * fullest : 3 * fullest + 3]).hex()
