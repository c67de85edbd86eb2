"""`./run.sh bench document [--json]`: pictures of the first pages of fifty documents, beside poppler's.

The time from the clean verdict to `ready` is measured in the embedded stack, one document after the other. CPU and
memory are those of the renderer's children, without the emulator and the upload. Needs pdftoppm.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp
import asyncpg
import pypdfium2
from PIL import Image

from deploy.local import ports
from deploy.local.announcement import Announcement
from deploy.local.child import PartError
from deploy.local.stack import running
from handlers.image.documents.renderer import PageRenderer
from handlers.image.geometry import PREVIEW_WIDTH
from tests.bench.document_samples import write_all
from tests.bench.image_meter import cpu_seconds, family_of, peak_memory, reset_peaks
from tests.bench.image_ssim import Reference
from tests.bench.pipeline_stack import Bench

PDF = Announcement("document", "application/pdf")
ROUNDS = 1
"""Renderings of each document after the first. The least CPU counts, since the system's clock ticks in hundredths."""
SECONDS_GOAL, CPU_GOAL, MEMORY_GOAL = 1.0, 0.15, 256.0
SSIM_GOAL, LEAST_SSIM = 0.90, 0.75


@dataclass(frozen=True, slots=True)
class Drawn:
    """One first page: CPU seconds, MiB beyond an idle child's, and how like poppler's it is."""

    name: str
    cpu: float
    memory: float
    ssim: float
    same_size: bool


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.sh bench document", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-document-") as name:
        folder = Path(name)
        samples = folder / "samples"
        samples.mkdir()
        documents = write_all(samples)
        try:
            drawn = asyncio.run(draw_all(documents, folder))
            seconds = asyncio.run(time_all(documents, folder))
        except PartError as error:
            sys.stderr.write(f"the stack did not start: {error}\n")
            return 1
    goals = judge(drawn, seconds)
    if options.json:
        found = {"pages": [asdict(one) for one in drawn], "seconds": seconds, "goals": goals}
        sys.stdout.write(json.dumps(found) + "\n")
        return 0
    lines = [
        f"  {one.name:18} CPU {one.cpu:.3f} s, {one.memory:5.1f} MiB, SSIM {one.ssim:.3f}"
        for one in sorted(drawn, key=lambda one: one.ssim)
    ]
    lines += [
        f"{'met    ' if met else 'NOT MET'} {text}: {value:.3f} (goal {goal:g})" for text, value, goal, met in goals
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


async def draw_all(documents: list[Path], folder: Path) -> list[Drawn]:
    """Render each first page alone, and compare it to poppler's."""
    async with PageRenderer(folder) as renderer:
        idle = max(map(peak_memory, family_of(os.getpid())[1:]))
        return [await draw(document, folder / document.stem, renderer, idle) for document in documents]


async def draw(document: Path, out_dir: Path, renderer: PageRenderer, idle: int) -> Drawn:
    await asyncio.to_thread(out_dir.mkdir)
    costs = []
    rendered = await renderer.render(document, out_dir, pages=0)
    for _ in range(ROUNDS):
        children = family_of(os.getpid())[1:]
        await asyncio.to_thread(reset_peaks, children)
        before = cpu_seconds(children)
        await renderer.render(document, out_dir, pages=0)
        costs.append((cpu_seconds(children) - before, max(map(peak_memory, children)) - idle))
    (ours,) = (file for file in rendered.files if file.name == f"w{PREVIEW_WIDTH}")
    theirs = await asyncio.to_thread(draw_by_poppler, document, out_dir)
    with Image.open(theirs) as image:
        same_size = max(abs(image.width - ours.width), abs(image.height - ours.height)) <= 1
    ssim = await asyncio.to_thread(lambda: Reference(theirs).ssim(ours.path))
    cpu, memory = min(cost[0] for cost in costs), max(cost[1] for cost in costs)
    return Drawn(document.stem, cpu, memory / 2**20, ssim, same_size)


def draw_by_poppler(document: Path, out_dir: Path) -> Path:
    with pypdfium2.PdfDocument(document) as opened:
        width = opened[0].get_width()
    # Poppler's own option for a width takes a turned page by its side.
    size = ["-r", f"{72 * PREVIEW_WIDTH / width:.4f}", "-cropbox"]
    command: list[str | Path] = ["pdftoppm", "-png", "-singlefile", *size, document, out_dir / "poppler"]
    subprocess.run(command, check=True, capture_output=True)
    return out_dir / "poppler.png"


async def time_all(documents: list[Path], folder: Path) -> list[float]:
    """Return the seconds from the clean verdict to `ready` of each, the first one, which warms the stack, left out."""
    found = []
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MEDIA_", "AWS_"))}
    environ["MEDIA_API_PORT"] = str(ports.free_port())
    async with AsyncExitStack() as opened:
        stack = await opened.enter_async_context(running(folder / "stack", lambda _line: None, environ))
        http = await opened.enter_async_context(aiohttp.ClientSession())
        database = await asyncpg.connect(stack.settings["MEDIA_DATABASE_URL"], timeout=10)
        opened.push_async_callback(database.close, timeout=10)
        bench = Bench(stack, http, database, folder / "calls")
        for number, document in enumerate([documents[0], *documents], start=1):
            asset_id = await bench.send(document, PDF)
            await bench.until_ready(number)
            moments = await bench.moments(asset_id)
            found.append(moments["image ready"] - moments["scan clean"])
    return found[1:]


def judge(drawn: list[Drawn], seconds: list[float]) -> list[tuple[str, float, float, bool]]:
    """Return each goal: in words, what was found, the bound, and whether it is met."""
    late = statistics.quantiles(seconds, n=20)[-1]
    cpu, memory = statistics.median(one.cpu for one in drawn), max(one.memory for one in drawn)
    likeness = [one.ssim for one in drawn]
    sizes = float(sum(not one.same_size for one in drawn))
    return [
        ("seconds from the clean verdict to the first page, p95", late, SECONDS_GOAL, late <= SECONDS_GOAL),
        ("CPU seconds of a page, median", cpu, CPU_GOAL, cpu <= CPU_GOAL),
        ("MiB of a page, the most", memory, MEMORY_GOAL, memory <= MEMORY_GOAL),
        ("SSIM to poppler's, median", statistics.median(likeness), SSIM_GOAL, statistics.median(likeness) >= SSIM_GOAL),
        ("SSIM to poppler's, the least", min(likeness), LEAST_SSIM, min(likeness) >= LEAST_SSIM),
        ("documents of another size than poppler's", sizes, 0.0, not sizes),
    ]


if __name__ == "__main__":
    sys.exit(main())
