import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from handlers.image.geometry import targets
from handlers.image.rendering import animation
from tests.unit.handlers.image.conftest import Render
from tests.unit.handlers.image.gifs import BLUE, GREEN, RED, WHITE, Frame, gif
from tests.unit.handlers.image.pictures import CORPUS, difference, opened, quarters, saved
from tests.unit.handlers.image.pngs import SIGNATURE, chunk

DURATIONS = [40, 200, 330, 1000]
COLORS = ["red", "green", "blue", "white"]


def frames(size: tuple[int, int] = (400, 200)) -> list[Image.Image]:
    return [Image.new("RGB", size, color) for color in COLORS]


def moving(image_format: str, loop: int | None, **options: object) -> bytes:
    first, *rest = frames()
    if loop is not None:
        options["loop"] = loop
    return saved(first, image_format, save_all=True, append_images=rest, duration=DURATIONS, **options)


def apng_of(durations: list[int]) -> bytes:
    """Frames of different grays; milliseconds, whole seconds where they are many."""
    data, number = b"", 0
    for index, duration in enumerate(durations):
        each = (duration // 1000, 1) if duration % 1000 == 0 else (duration, 1000)
        data += chunk(b"fcTL", struct.pack(">5I2H2B", number, 16, 16, 0, 0, *each, 0, 0))
        pixels = zlib.compress((b"\0" + bytes([index * 101 % 256]) * 16) * 16)
        data += chunk(b"fdAT", struct.pack(">I", number + 1) + pixels) if index else chunk(b"IDAT", pixels)
        number += 2 if index else 1
    head = chunk(b"IHDR", struct.pack(">2I5B", 16, 16, 8, 0, 0, 0, 0)) + chunk(
        b"acTL", struct.pack(">2I", len(durations), 0)
    )
    return b"\x89PNG\r\n\x1a\n" + head + data + chunk(b"IEND", b"")


def timing(image: Image.Image) -> list[int]:
    found = []
    for index in range(image.n_frames):  # type: ignore[attr-defined] # an opened WebP has it
        image.seek(index)
        image.load()
        found.append(int(image.info["duration"]))
    return found


@pytest.mark.parametrize(
    ("image_format", "loop", "plays"),
    [("GIF", None, 1), ("GIF", 0, 0), ("GIF", 2, 3), ("WEBP", 0, 0), ("WEBP", 5, 5), ("PNG", 0, 0), ("PNG", 3, 3)],
)
async def test_durations_and_loops_are_kept(image_format: str, loop: int | None, plays: int, render: Render) -> None:
    rendered = await render(moving(image_format, loop))
    assert [(f.name, f.width) for f in rendered.files] == [("w150", 150), ("w320", 320), ("w640", 400)]
    for index in range(3):
        image = opened(rendered, index)
        assert image.info["loop"] == plays
        assert timing(image) == DURATIONS
    assert rendered.notes == ("animated: 4 frames",)


async def test_every_frame_shows_its_picture(render: Render) -> None:
    image = opened(await render(moving("GIF", 0)), 0)
    for index, expected in enumerate(frames((150, 75))):
        image.seek(index)
        assert difference(image.convert("RGB"), expected) < 6


async def test_an_apng_s_default_picture_is_no_frame(render: Render) -> None:
    image = opened(await render(moving("PNG", 0, default_image=True)), 0)
    assert image.n_frames == 3  # type: ignore[attr-defined] # an opened WebP has it


async def test_frames_without_duration_last_as_long_as_browsers_let_them(render: Render) -> None:
    first, *rest = frames()
    source = saved(first, "GIF", save_all=True, append_images=rest, duration=0)
    assert timing(opened(await render(source), 0)) == [100] * 4


async def test_a_transparent_animation_stays_transparent(render: Render) -> None:
    steps = []
    for at in range(4):
        pixels = np.zeros((60, 60, 4), np.uint8)
        pixels[:, at * 15 : at * 15 + 15] = (0, 0, 255, 255)
        steps.append(Image.fromarray(pixels))
    source = saved(steps[0], "WEBP", save_all=True, append_images=steps[1:], duration=100, lossless=True)
    image = opened(await render(source))
    for at in range(4):
        image.seek(at)
        alpha = np.asarray(image.convert("RGBA"))[:, :, 3]
        assert alpha[:, at * 15 + 3 : at * 15 + 12].min() > 200
        assert alpha.mean() < 80


LEFT, RIGHT, ALL = (0, 0, 30, 60), (30, 0, 30, 60), (0, 0, 60, 60)
NARROW = (0, 0, 15, 60)
CLEARED, RESTORED = 2, 3


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ([Frame(LEFT, RED)], [LEFT]),
        ([Frame(NARROW, RED), Frame(RIGHT, GREEN)], [NARROW, (*NARROW, *RIGHT)]),
        ([Frame(LEFT, RED, CLEARED), Frame(RIGHT, GREEN, CLEARED), Frame(NARROW, WHITE)], [LEFT, RIGHT, NARROW]),
        ([Frame(LEFT, RED, CLEARED), Frame(RIGHT, GREEN), Frame(NARROW, WHITE)], [LEFT, RIGHT, (*RIGHT, *NARROW)]),
        ([Frame(ALL, RED, CLEARED), Frame(LEFT, GREEN)], [ALL, LEFT]),
        ([Frame(LEFT, RED, RESTORED), Frame(RIGHT, GREEN)], [LEFT, RIGHT]),
        ([Frame(LEFT, RED), Frame(ALL, GREEN, transparent=GREEN), Frame(RIGHT, BLUE)], [LEFT, (*LEFT, *RIGHT)]),
        ([Frame(ALL, RED), Frame(LEFT, GREEN, CLEARED, transparent=BLUE), Frame(RIGHT, WHITE)], [ALL, ALL, RIGHT]),
    ],
    ids=["still", "uncovered", "cleared", "cleared once", "all cleared", "restored", "transparent", "cleared later"],
)
async def test_what_no_frame_of_a_gif_covers_is_clear(
    given: list[Frame], seen: list[tuple[int, ...]], render: Render
) -> None:
    image = opened(await render(gif((60, 60), given)))
    for number, places in enumerate(seen):
        image.seek(number)
        expected = np.zeros((60, 60), bool)
        for left, top, width, height in zip(*[iter(places)] * 4, strict=True):
            expected[top : top + height, left : left + width] = True
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
        assert ((alpha > 127) == expected).all()


async def test_frames_of_an_apng_are_blended_by_their_alpha_and_removed(render: Render) -> None:
    """Red, then half of blue over it, which is removed by its left half; the still picture before is none of it."""
    background, over = 1, 1
    given = [
        ((0, 0, 32, 32), (255, 0, 0, 255), 0, 0),
        ((0, 0, 32, 32), (0, 0, 255, 128), 0, over),
        ((0, 0, 16, 32), (0, 255, 0, 255), background, 0),
        ((24, 0, 8, 32), (255, 255, 255, 255), 0, over),
    ]
    data, number = chunk(b"IDAT", zlib.compress((b"\0" + b"\xff" * 128) * 32)), 0
    for (left, top, width, height), color, disposal, blend in given:
        data += chunk(b"fcTL", struct.pack(">5I2H2B", number, width, height, left, top, 1, 10, disposal, blend))
        pixels = zlib.compress((b"\0" + bytes(color) * width) * height)
        data += chunk(b"fdAT", struct.pack(">I", number + 1) + pixels)
        number += 2
    head = chunk(b"IHDR", struct.pack(">2I5B", 32, 32, 8, 6, 0, 0, 0)) + chunk(b"acTL", struct.pack(">2I", 4, 0))
    image = opened(await render(SIGNATURE + head + data + chunk(b"IEND", b"")))
    purple, clear = (127, 0, 128, 255), (0, 0, 0, 0)
    expected = [[(255, 0, 0, 255)] * 3, [purple] * 3, [(0, 255, 0, 255), purple, purple], [clear, purple, (255,) * 4]]
    for index, colors in enumerate(expected):
        image.seek(index)
        seen = np.asarray(image.convert("RGBA"), dtype=float)[16, (4, 20, 28)]
        assert np.abs(seen * (seen[:, 3:] > 8) - colors).max() < 60


async def test_canvas_of_a_webp_without_alpha_is_clear(render: Render) -> None:
    """A writer says "no alpha" where the parts that it draws are opaque."""
    steps = [Image.new("RGBA", (64, 64)) for _ in range(2)]
    for index, step in enumerate(steps):
        step.paste("red", (0, 0, 64, 20 * (index + 1)))
    source = saved(steps[0], "WEBP", save_all=True, append_images=steps[1:], duration=100)
    assert Image.open(io.BytesIO(source)).mode == "RGB"
    image = opened(await render(source))
    for index in range(2):
        image.seek(index)
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
        assert alpha[: 20 * (index + 1)].min() > 247
        assert alpha[20 * (index + 1) :].max() < 8


async def test_a_long_animation_shows_its_first_frame_and_says_so(render: Render) -> None:
    first, *rest = [quarters((1200, 800)), *([Image.new("RGB", (1200, 800), c) for c in COLORS] * 6)]
    assert not animation.is_affordable(25, targets(1200, 800))
    rendered = await render(saved(first, "GIF", save_all=True, append_images=rest, duration=50))
    assert rendered.notes[0].startswith("first_frame")
    image = opened(rendered)
    assert not getattr(image, "is_animated", False)
    assert difference(image, first) < 6


@pytest.mark.skipif(not CORPUS.exists(), reason="the corpus of real files is not beside the repository")
@pytest.mark.parametrize(("name", "count"), [("chi.gif", 31), ("rotating-squares.webp", 9)])
async def test_real_animations_keep_their_time(name: str, count: int, render: Render) -> None:
    rendered = await render(CORPUS / "good" / name)
    with Image.open(CORPUS / "good" / name) as source:
        expected = timing(source)
    image = opened(rendered)
    assert len(expected) == count
    # WebP merges frames that do not differ: the time they take together stays.
    assert sum(timing(image)) == sum(duration if duration > 10 else 100 for duration in expected)


LONG = [
    pytest.param([65_535_000] * 2, [10_000_000] * 2, id="65535 s each"),
    pytest.param([16_778_000, 1000], [10_000_000, 1000], id="one of 16778 s"),
    pytest.param([16_000_000] * 250, [8_000_000] * 250, id="46 days in all"),
]


@pytest.mark.parametrize(("asked", "kept"), LONG)
async def test_frames_longer_than_webp_can_say_are_shortened_with_a_note(
    asked: list[int], kept: list[int], render: Render
) -> None:
    rendered = await render(apng_of(asked))
    assert timing(opened(rendered)) == kept
    assert f"shortened: frames that last longer than WebP can say; {sum(kept)} ms remain" in rendered.notes


async def test_an_avif_whose_frames_last_for_ever_is_shortened(render: Render) -> None:
    data = bytearray(moving("AVIF", None, speed=10))
    at = data.index(b"stts")
    data[at + 12 : at + 20] = struct.pack(">2I", 0xFFFFFFFF, 0xFFFFFFFF)
    rendered = await render(bytes(data))
    assert max(timing(opened(rendered))) == animation.MAX_DURATION
    assert any(note.startswith("shortened") for note in rendered.notes)
