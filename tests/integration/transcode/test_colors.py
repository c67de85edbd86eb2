"""Colors of picture and poster, beside Chromium's own rendering of the source."""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.async_api import Browser, Page, Route

from media.asset import Status
from tests.acceptance.browser.conftest import started_chromium
from tests.integration.transcode.engine_harness import Harness, poster_name
from tests.integration.transcode.source_clips import run_ffmpeg

WIDTH, HEIGHT = 320, 180
SDR, HDR = 3.0, 12.0
"""Mean difference of the levels of 255 that is allowed."""
COLORS = ("white", "0xC0C000", "0x00B8B8", "0x20B020", "0xB828B8", "0xC02020", "0x2020C0", "0xC88C78")
PASTEL = ("0x909090", "0x808060", "0x608080", "0x608060", "0x806080", "0x806060", "0x606080", "0x404040")
VP9_10 = (
    "-c:v",
    "libvpx-vp9",
    "-deadline",
    "realtime",
    "-cpu-used",
    "8",
    "-pix_fmt",
    "yuv420p10le",
    "-crf",
    "4",
    "-b:v",
    "0",
)
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-qp", "4", "-pix_fmt", "yuv420p")
ADDRESS = "http://localhost/colors/"
SHOWN = """async (name) => {
    const canvas = new OffscreenCanvas(320, 180);
    const context = canvas.getContext('2d');
    const isImage = name.endsWith('.jpg');
    const element = document.createElement(isImage ? 'img' : 'video');
    document.body.append(element);
    const ready = new Promise((resolve, reject) => {
        element.onerror = () => reject(new Error(element.error?.message ?? 'no picture'));
        if (isImage) element.onload = resolve;
        else element.requestVideoFrameCallback(resolve);
    });
    element.muted = true;
    element.src = name;
    if (!isImage) await element.play();
    await ready;
    context.drawImage(element, 0, 0, 320, 180);
    const { data } = context.getImageData(0, 0, 320, 180);
    let text = '';
    for (const byte of data) text += String.fromCharCode(byte);
    return btoa(text);
}"""


@dataclass(frozen=True)
class Colored:
    """A source by its name: how it is coded, and how it says so."""

    name: str
    suffix: str
    options: tuple[str, ...]
    allowed: float = SDR
    colors: tuple[str, ...] = COLORS
    size: tuple[int, int] = (WIDTH, HEIGHT)

    def __str__(self) -> str:
        return self.name

    def make(self, path: Path) -> None:
        width, height = self.size
        bars = [
            f"color=c={color}:s={width // 8}x{height}:r=25:d=2,format=gbrp[c{n}]" for n, color in enumerate(self.colors)
        ]
        graph = ";".join([*bars, "".join(f"[c{n}]" for n in range(8)) + "hstack=8"])
        run_ffmpeg("-f", "lavfi", "-i", graph, *self.options, path)


def matrix(name: str, out_range: str = "tv") -> tuple[str, ...]:
    return ("-vf", f"scale=out_color_matrix={name}:out_range={out_range},format=yuv420p")


def tagged(space: str, primaries: str, transfer: str, out_range: str = "tv") -> tuple[str, ...]:
    tags = f"setparams=colorspace={space}:color_primaries={primaries}:color_trc={transfer}:range={out_range}"
    scaled = f"scale=out_color_matrix={space.replace('bt2020nc', 'bt2020')}:out_range={out_range}"
    told = ("-colorspace", space, "-color_primaries", primaries, "-color_trc", transfer, "-color_range", out_range)
    return ("-vf", f"{scaled},format=FORMAT,{tags}", *told)


def with_format(options: tuple[str, ...], pixel_format: str) -> tuple[str, ...]:
    return tuple(word.replace("FORMAT", pixel_format) for word in options)


def sdr(*tags: str) -> tuple[str, ...]:
    return (*with_format(tagged(*tags), "yuv420p"), *X264)


def hdr(transfer: str) -> tuple[str, ...]:
    return (*with_format(tagged("bt2020nc", "bt2020", transfer), "yuv420p10le"), *VP9_10)


SOURCES = [
    Colored("601", "mp4", sdr("smpte170m", "smpte170m", "smpte170m")),
    Colored("709", "mp4", sdr("bt709", "bt709", "bt709")),
    Colored("full-range", "mp4", sdr("bt709", "bt709", "bt709", "pc")),
    Colored(
        "rgb", "webm", ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-pix_fmt", "gbrp", "-crf", "4", "-b:v", "0")
    ),
    Colored("p3", "mp4", sdr("bt709", "smpte432", "bt709")),
    Colored("untagged-sd", "mp4", (*matrix("smpte170m"), *X264)),
    Colored("untagged-hd", "mp4", (*matrix("bt709"), *X264), size=(1280, 720)),
    Colored("hlg", "webm", hdr("arib-std-b67"), HDR, PASTEL),
    Colored("pq", "webm", hdr("smpte2084"), HDR, PASTEL),
]
EVERYDAY = {"709", "rgb"}


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with started_chromium() as started:
        yield started


# What MediaConvert makes of HDR is its own. The stand-in would prove nothing.
@pytest.mark.parametrize(
    ("source", "engine"),
    [
        pytest.param(one, engine, id=f"{one}-{engine}", marks=() if str(one) in EVERYDAY else pytest.mark.soak)
        for one in SOURCES
        for engine in ("ffmpeg", "mediaconvert")
        if engine == "ffmpeg" or one.allowed == SDR
    ],
)
async def test_picture_and_poster_have_the_colors_of_the_source(
    source: Colored, engine: str, harness: Harness, browser: Browser, tmp_path: Path
) -> None:
    path = tmp_path / f"source.{source.suffix}"
    source.make(path)
    asset = await harness.add_asset(path)
    run = harness.transcode_with_ffmpeg if engine == "ffmpeg" else harness.transcode_with_mediaconvert
    made = await run(asset)
    assert made.status is Status.READY, (made.code, made.detail)
    folder = await harness.fetch_outputs(made)
    page = await browser.new_page()
    try:
        await page.route(
            "**/*",
            answering({path.name: path, "video.mp4": folder / "video.mp4", "poster.jpg": folder / poster_name(made)}),
        )
        await page.goto(ADDRESS)
        wanted = await rendered(page, path.name)
        off = {name: float(np.abs(await rendered(page, name) - wanted).mean()) for name in ("video.mp4", "poster.jpg")}
    finally:
        await page.close()
    assert max(off.values()) <= source.allowed, off


async def rendered(page: Page, name: str) -> Any:
    """Return the levels of the middle of each bar as Chromium shows them."""
    data = base64.b64decode(await page.evaluate(SHOWN, name))
    pixels = np.frombuffer(data, np.uint8).reshape(HEIGHT, WIDTH, 4)[20:-20, :, :3].astype(np.int16)
    return np.stack([pixels[:, at + 8 : at + 32].mean(axis=(0, 1)) for at in range(0, WIDTH, WIDTH // 8)])


def answering(files: dict[str, Path]) -> Any:
    async def answer(route: Route) -> None:
        name = route.request.url.removeprefix(ADDRESS)
        if not name:
            await route.fulfill(body="<!doctype html><body></body>", content_type="text/html")
        elif name in files:
            await route.fulfill(path=files[name])
        else:
            await route.fulfill(status=404)

    return answer
