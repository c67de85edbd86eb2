"""Colors of other spaces are converted to sRGB as the formulas tell."""

import io
import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from handlers.image.color.profiles import SRGB, SRGB_CURVE, Curve, Primaries, profile_of
from tests.unit.handlers.image.conftest import Render
from tests.unit.handlers.image.pictures import difference, gradient, numbers, opened, quarters, saved
from tests.unit.handlers.image.pngs import chunk

COLOR = (200, 100, 50)
P3 = Primaries((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
P3_TO_SRGB = np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]])


def light(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """sRGB's numbers, 0 to 255, as light, 0 to 1."""
    unit = values / 255
    return np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)


def shown(of_light: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(of_light, 0, 1)
    return 255 * np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** (1 / 2.4) - 0.055)


P3_SHOWN = shown(P3_TO_SRGB @ light(np.array(COLOR, float)))


def png(*chunks: bytes, color: tuple[int, ...] = COLOR) -> bytes:
    data = saved(Image.new("RGB" if len(color) == 3 else "L", (64, 64), color if len(color) == 3 else color[0]), "PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def cicp(primaries: int, transfer: int) -> bytes:
    return chunk(b"cICP", bytes([primaries, transfer, 0, 1]))


def nclx(primaries: int, transfer: int) -> bytes:
    data = bytearray(saved(Image.new("RGB", (64, 64), COLOR), "AVIF", quality=95, speed=10))
    at = data.index(b"colrnclx") + 8
    data[at : at + 4] = struct.pack(">2H", primaries, transfer)
    return bytes(data)


def named(profile: bytes, name: str) -> bytes:
    """A profile with a description, as the second version of the format writes it."""
    text = name.encode() + b"\0"
    entry = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    count = int.from_bytes(profile[128:132], "big")
    table = bytearray(profile[132 : 132 + 12 * count])
    for at in range(4, len(table), 12):
        table[at : at + 4] = (int.from_bytes(table[at : at + 4], "big") + 12).to_bytes(4, "big")
    table += b"desc" + struct.pack(">2I", len(profile) + 12, len(entry))
    whole = profile[:128] + struct.pack(">I", count + 1) + table + profile[132 + 12 * count :] + entry
    return struct.pack(">I", len(whole)) + whole[4:]


def matrix_profile() -> bytes:
    """Linear light in sRGB's primaries: the same numbers must look much brighter."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for tag in (b"rTRC", b"gTRC", b"bTRC"):
        entry = profile.index(tag, 128)
        at = int.from_bytes(profile[entry + 4 : entry + 8], "big")
        profile[at : at + 12] = b"curv" + bytes(8)  # no points: the identity
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "line".encode("utf-16-be"))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
async def test_an_icc_profile_is_applied_and_not_passed_on(mode: str, render: Render) -> None:
    profile = matrix_profile()
    source = quarters()
    expected = ImageCms.profileToProfile(
        source, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert expected
    assert difference(expected, source) > 20
    picture = source.convert(mode)
    if mode == "RGBA":
        picture.putalpha(254)
    rendered = await render(saved(picture, "PNG", icc_profile=profile))
    assert difference(opened(rendered), expected) < 6
    assert "icc_profile" not in opened(rendered).info


async def test_a_damaged_profile_is_ignored_with_a_note(render: Render) -> None:
    rendered = await render(saved(quarters(), "JPEG", icc_profile=b"not a profile" * 20))
    assert difference(opened(rendered), quarters()) < 6
    assert rendered.notes[0].startswith("icc_ignored")


LINEAR = Curve(1.0)
SWAPPED = Primaries(SRGB.green, SRGB.red, SRGB.blue)


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        pytest.param(profile_of(SRGB, LINEAR, gray=False), shown(np.array(COLOR) / 255), id="linear"),
        pytest.param(profile_of(SWAPPED, SRGB_CURVE, gray=False), np.array([100, 200, 50]), id="red and green swapped"),
        pytest.param(profile_of(P3, SRGB_CURVE, gray=False), P3_SHOWN, id="P3"),
        pytest.param(profile_of(SRGB, SRGB_CURVE, gray=False), np.array(COLOR), id="sRGB"),
    ],
)
async def test_profile_is_judged_by_its_effect_not_its_name(
    profile: bytes, expected: NDArray[np.float64], render: Render
) -> None:
    profile = named(profile, "sRGB-elle-V2-g10.icc")
    assert ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip().startswith("sRGB")
    rendered = await render(saved(Image.new("RGB", (64, 64), COLOR), "PNG", icc_profile=profile))
    assert rendered.notes == ()
    assert np.abs(numbers(opened(rendered))[32, 32] - expected).max() < 5


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
async def test_a_profile_of_grays_is_applied(mode: str, render: Render) -> None:
    unit = gradient((128, 64))
    gray = Image.fromarray(np.round(unit * 255).astype(np.uint8))
    if mode == "LA":
        gray.putalpha(Image.new("L", gray.size, 254))
    if mode == "I;16":
        gray = Image.fromarray(np.round(unit * 65535).astype("<u2"))
    rendered = await render(saved(gray, "PNG", icc_profile=profile_of(SRGB, LINEAR, gray=True)))
    assert rendered.notes == ()
    seen = np.asarray(opened(rendered).convert("RGBA"), float)
    assert np.abs(seen[:, :, :3] - shown(unit)[:, :, None]).mean() < 3
    assert seen[:, :, 3].min() >= 254


async def test_grays_in_a_profile_of_colors_are_converted(render: Render) -> None:
    source = saved(Image.new("L", (64, 64), 55), "JPEG", icc_profile=profile_of(SRGB, LINEAR, gray=False))
    rendered = await render(source)
    assert rendered.notes == ()
    assert np.abs(numbers(opened(rendered))[32, 32] - shown(np.array(55 / 255))).max() < 4


async def test_a_profile_of_grays_on_colors_is_ignored_with_a_note(render: Render) -> None:
    rendered = await render(saved(quarters(), "PNG", icc_profile=profile_of(SRGB, LINEAR, gray=True)))
    assert rendered.notes == ("icc_ignored: a profile of greys, on colours",)
    assert difference(opened(rendered), quarters()) < 6


CODED = [
    pytest.param(png(cicp(12, 13)), P3_SHOWN, id="cICP of P3"),
    pytest.param(png(cicp(1, 8)), shown(np.array(COLOR) / 255), id="cICP of linear light"),
    pytest.param(png(cicp(1, 13)), np.array(COLOR), id="cICP of sRGB"),
    pytest.param(nclx(12, 13), P3_SHOWN, id="nclx of P3"),
    pytest.param(nclx(1, 13), np.array(COLOR), id="nclx of sRGB"),
    pytest.param(nclx(2, 2), np.array(COLOR), id="nclx that says nothing"),
    pytest.param(png(chunk(b"gAMA", struct.pack(">I", 100_000))), shown(np.array(COLOR) / 255), id="gAMA of 1"),
    pytest.param(png(chunk(b"gAMA", struct.pack(">I", 45_455))), np.array(COLOR), id="usual gAMA"),
    pytest.param(
        png(chunk(b"gAMA", struct.pack(">I", 100_000)), color=(55,)),
        shown(np.array([55 / 255] * 3)),
        id="gAMA of gray",
    ),
    pytest.param(
        png(chunk(b"gAMA", struct.pack(">I", 100_000)), chunk(b"sRGB", b"\0")), np.array(COLOR), id="sRGB before gAMA"
    ),
    pytest.param(
        png(chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))),
        P3_SHOWN,
        id="cHRM of P3",
    ),
    pytest.param(
        png(cicp(12, 13), chunk(b"iCCP", b"x\0\0" + zlib.compress(profile_of(SRGB, LINEAR, gray=False)))),
        P3_SHOWN,
        id="cICP before a profile",
    ),
]


@pytest.mark.parametrize(("source", "expected"), CODED)
async def test_code_points_are_applied(source: bytes, expected: NDArray[np.float64], render: Render) -> None:
    rendered = await render(source)
    assert rendered.notes == ()
    assert np.abs(numbers(opened(rendered))[32, 32] - expected).max() < 6


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(nclx(9, 17), id="SMPTE 428"),
        pytest.param(png(cicp(9, 9)), id="logarithmic"),
        pytest.param(png(chunk(b"gAMA", bytes(4))), id="gamma of nothing"),
        pytest.param(png(chunk(b"cHRM", bytes(32))), id="primaries of nothing"),
    ],
)
async def test_unknown_color_metadata_is_noted(source: bytes, render: Render) -> None:
    rendered = await render(source)
    assert rendered.notes[0].startswith("colour_ignored: ")
    assert np.abs(numbers(opened(rendered))[32, 32] - COLOR).max() < 6
