"""Compare a folder of pictures with Chromium: `python -m tests.bench.pictures FOLDER`. Needs Chromium.

Each picture is rendered by us and drawn by Chromium at the same size. Prints a line for every picture whose size,
orientation, colors or alpha differ, or that only one of the two shows, and a summary.
"""

import argparse
import asyncio
import base64
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.async_api import Error, Page, async_playwright

from handlers.image.renderer import ImageLimits, ImageRenderer, RenderedImage
from handlers.sniff import HEAD_BYTES, sniff
from media.errors import MediaError
from tests.acceptance.browser.conftest import find_chromium

MIB = 1024 * 1024
LIMITS = ImageLimits(100 * MIB, 100_000_000, 200_000_000, 1536 * MIB, 60.0, 2, 3072 * MIB)
SUFFIXES = frozenset(
    f".{name}"
    for names in ("apng png", "avif heic heif", "bmp", "gif", "jfif jpe jpeg jpg mpo", "tif tiff", "webp")
    for name in names.split()
)
MEAN = 12.0
"""Mean difference of the colors, of 255, from which two pictures differ."""
ALPHA = 4.0
"""The same for alpha."""
PAGE_LIFE = 50
"""Pictures that one page of the browser draws: it keeps their memory."""
_SECONDS = 20
_DRAW = """async ([url, width, height]) => {
  const image = new Image();
  image.src = url;
  await image.decode();
  const sheet = new OffscreenCanvas(width || image.naturalWidth, height || image.naturalHeight);
  const pen = sheet.getContext("2d", {colorSpace: "srgb"});
  pen.imageSmoothingQuality = "high";
  if (width) pen.drawImage(image, 0, 0, width, height);
  const blob = width ? await sheet.convertToBlob({type: "image/png"}) : new Blob();
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  return [image.naturalWidth, image.naturalHeight, btoa(text)];
}"""

type Pixels = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One picture: its true type, what differs, empty for nothing, and the mean differences of colors and alpha."""

    path: Path
    content_type: str
    kind: str
    detail: str = ""
    mean: float = 0.0
    alpha: float = 0.0


async def compare(path: Path, renderer: ImageRenderer, page: Page, folder: Path) -> Comparison:
    """Render one picture by both."""
    out, content = folder / "out", await asyncio.to_thread(path.read_bytes)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    content_type = sniff(content[:HEAD_BYTES]) or "unknown"
    url = f"data:{content_type};base64,{base64.b64encode(content).decode()}"
    ours: RenderedImage | MediaError
    try:
        ours = await renderer.render(path, out)
    except MediaError as error:
        ours = error
    try:
        async with asyncio.timeout(_SECONDS):
            size = None if isinstance(ours, MediaError) else ours.files[-1]
            asked = [url, size.width if size else 0, size.height if size else 0]
            width, height, drawn = await page.evaluate(_DRAW, asked)
    except (Error, TimeoutError):
        kind = "neither" if isinstance(ours, MediaError) else "ours only"
        return Comparison(path, content_type, kind, describe(ours))
    if isinstance(ours, MediaError):
        return Comparison(path, content_type, "chromium only", describe(ours))
    if (width, height) != (ours.width, ours.height):
        return Comparison(path, content_type, "size", f"{ours.width}×{ours.height}, Chromium {width}×{height}")
    (folder / "drawn.png").write_bytes(base64.b64decode(drawn))
    mine, theirs = pixels(ours.files[-1].path), pixels(folder / "drawn.png")
    mean, alpha = mean_difference(mine, theirs), float(np.abs(mine[..., 3] - theirs[..., 3]).mean())
    kind = "alpha" if alpha > ALPHA else "colors" if mean > MEAN else ""
    if kind and any(mean_difference(turn, theirs) < mean / 3 for turn in turns(mine) if turn.shape == theirs.shape):
        kind = "orientation"
    return Comparison(path, content_type, kind, " ".join(ours.notes), mean, alpha)


def describe(ours: RenderedImage | MediaError) -> str:
    if isinstance(ours, MediaError):
        return f"{ours.code}: {ours.detail}"
    return f"{ours.width}×{ours.height} {' '.join(ours.notes)}"


def pixels(path: Path) -> Pixels:
    """Return rows of RGBA with colors multiplied by alpha, 0 to 255. Of an animation, the first frame."""
    with Image.open(path) as image:
        values = np.asarray(image.convert("RGBA"), dtype=np.float64)
    values = values.copy()
    values[..., :3] *= values[..., 3:] / 255
    return values


def mean_difference(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one[..., :3] - other[..., :3]).mean())


def turns(image: Pixels) -> Iterator[Pixels]:
    """Yield the seven other orientations."""
    for mirrored in (image, image[:, ::-1]):
        for quarter in range(4):
            if mirrored is not image or quarter:
                yield np.rot90(mirrored, quarter)


async def compare_all(files: list[Path]) -> list[Comparison]:
    with tempfile.TemporaryDirectory(prefix="bench-pictures-") as folder:
        async with ImageRenderer(LIMITS) as renderer, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
            page = await browser.new_page()
            compared = []
            for number, path in enumerate(files, 1):
                if number % PAGE_LIFE == 0:
                    await page.close()
                    page = await browser.new_page()
                compared.append(await compare(path, renderer, page, Path(folder)))
                if number % 100 == 0:
                    sys.stderr.write(f"{number} of {len(files)}\n")
            await browser.close()
    return compared


def pictures_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def report(compared: list[Comparison], folder: Path) -> None:
    """Print the differences, and how many there are of each kind."""
    for one in sorted(compared, key=lambda one: (one.kind, one.content_type, one.path)):
        if one.kind:
            figures = f"{one.mean:6.1f} {one.alpha:6.1f}"
            name = os.path.relpath(one.path, folder)
            print(f"{one.kind:13} {one.content_type:12} {figures} {name}: {one.detail[:150]}")
    shown = [one for one in compared if one.kind not in {"neither", "ours only", "chromium only"}]
    print(f"pictures {len(compared)}, shown by both {len(shown)}")
    print(f"the same {sum(not one.kind for one in shown)}")
    for kind, count in Counter(one.kind for one in compared if one.kind).most_common():
        print(f"{kind:13} {count}")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--only", default="", help="a part of the names")
    given = arguments.parse_args()
    chosen = [path for path in pictures_in(given.folder) if given.only in str(path.relative_to(given.folder))]
    report(asyncio.run(compare_all(chosen)), given.folder)
