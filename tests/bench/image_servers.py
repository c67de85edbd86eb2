"""The benchmark's servers in this interpreter: our renderer with its pool, and Pillow as in its tutorial."""

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, ImageOps

from handlers.image.renderer import ImageLimits, ImageRenderer

MIB = 1024 * 1024
WIDTHS = (150, 320, 640, 1024, 1920)
LIMITS = ImageLimits(
    max_bytes=100 * MIB,
    max_pixels=100_000_000,
    max_total_pixels=200_000_000,
    memory=1536 * MIB,
    timeout=60,
    workers=2,
    budget=2048 * MIB,
)


async def serve_ours() -> None:
    async with ImageRenderer(LIMITS) as renderer:
        while line := await asyncio.to_thread(sys.stdin.readline):
            jobs = [(Path(source), Path(folder)) for source, folder in json.loads(line)]
            await asyncio.gather(*(renderer.render(source, folder) for source, folder in jobs))
            _done()


def serve_plain() -> None:
    with ThreadPoolExecutor(2) as pool:
        for line in sys.stdin:
            list(pool.map(_render_plainly, json.loads(line)))
            _done()


def _render_plainly(job: list[str]) -> None:
    source, folder = job
    with Image.open(source) as opened:
        image = ImageOps.exif_transpose(opened)
    for index, name in enumerate(WIDTHS):
        if index and WIDTHS[index - 1] >= image.width:
            break
        width = min(name, image.width)
        resized = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
        resized.save(f"{folder}/w{name}.webp", quality=80, method=4)


def _done() -> None:
    sys.stdout.write("ok\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1] == "ours":
        asyncio.run(serve_ours())
    else:
        serve_plain()
