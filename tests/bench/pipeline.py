"""`./run.sh bench pipeline [--files N] [--json]`: photos from presigned PUT to ready through the embedded stack.

What the service costs beyond the work itself: CPU of the consumer's own process, SQL statements, AWS calls, and for
one photo on an idle stack the time beyond its scan and its renditions.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from deploy.local.child import PartError
from handlers.image.renderer import ImageLimits, ImageRenderer
from handlers.scan.clamd.client import Clamd
from handlers.scan.clamd.instream import Address
from media.settings import Settings
from tests.bench.pipeline_stack import Bench, Meter, measured

FILES = 40
SIZE = (1632, 1224)
"""Width and height of a photo: two megapixels."""
WARM = 4
"""Photos before the measurement, to warm connections, child processes and caches."""
ALONE = 5
"""Photos sent one by one on the idle stack; the median counts."""
AT_ONCE = 8
POLL = 0.1
"""Seconds between two checks in the emulator's long poll (its own constant). A photo passes two queues."""
OVERHEAD = 0.15
CPU_GOAL, SQL_GOAL, AWS_GOAL = 0.020, 12.0, 10.0


@dataclass(frozen=True, slots=True)
class Single:
    """One photo on an idle stack, in seconds: from the PUT's end to ready, its scan alone, its renditions alone."""

    ready: float
    scan: float
    render: float
    stages: dict[str, float]

    @property
    def least(self) -> float:
        return self.scan + self.render + OVERHEAD


@dataclass(frozen=True, slots=True)
class Found:
    """The cost of `files` photos."""

    files: int
    seconds: float
    spent: Meter
    single: Single

    def per_file(self) -> dict[str, float]:
        statements = {name: kinds.total() for name, kinds in self.spent.statements.items()}
        return {
            "files_per_second": self.files / self.seconds,
            "consumer_cpu": self.spent.cpu / self.files,
            "sql": sum(statements.values()) / self.files,
            "sql_consumer": statements.get("media-consumer", 0) / self.files,
            "aws": self._aws(polls=True) / self.files,
            "aws_without_polls": self._aws(polls=False) / self.files,
        }

    def _aws(self, *, polls: bool) -> int:
        return sum(n for name, n in self.spent.calls.items() if polls or name != "sqs.ReceiveMessage")


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.sh bench pipeline", description=__doc__)
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-pipeline-") as folder:
        try:
            found = asyncio.run(_measure(Path(folder), options.files))
        except PartError as error:
            sys.stderr.write(f"the stack did not start: {error}\n")
            return 1
    sys.stdout.write(_as_json(found) if options.json else _as_text(found))
    return 0


async def _measure(folder: Path, files: int) -> Found:
    photos = [_photo(folder / f"photo-{number}.jpg", number) for number in range(WARM + ALONE)]
    async with measured(folder) as bench:
        await asyncio.gather(*(bench.send(photo) for photo in photos[:WARM]))
        await bench.until_ready(WARM)
        single = await _alone(bench, photos[WARM:], folder)
        before, began = await bench.meter(), time.monotonic()
        slots = asyncio.Semaphore(AT_ONCE)

        async def send(number: int) -> None:
            async with slots:
                await bench.send(photos[number % len(photos)])

        await asyncio.gather(*(send(number) for number in range(files)))
        await bench.until_ready(WARM + ALONE + files)
        seconds = time.monotonic() - began
        return Found(files, seconds, (await bench.meter()).since(before), single)


async def _alone(bench: Bench, photos: list[Path], folder: Path) -> Single:
    async with _tools(bench, folder) as (clamd, renderer):
        singles = []
        for number, photo in enumerate(photos, start=1):
            asset_id, put = await bench.send(photo), time.time()
            await bench.until_ready(WARM + number)
            moments = await bench.moments(asset_id)
            stages = {what: at - put for what, at in moments.items()}
            ready = max(stages.values())
            singles.append(Single(ready, await _scan(clamd, photo), await _render(renderer, photo, folder), stages))
    return sorted(singles, key=lambda single: single.ready - single.scan - single.render)[len(singles) // 2]


@asynccontextmanager
async def _tools(bench: Bench, folder: Path) -> AsyncIterator[tuple[Clamd, ImageRenderer]]:
    """Open the stack's scanner and a renderer like the consumer's, both warm."""
    known = {name: field.default for name, field in Settings.model_fields.items()}
    limits = ImageLimits(
        max_bytes=known["image_max_bytes"],
        max_pixels=known["image_max_pixels"],
        max_total_pixels=known["image_max_total_pixels"],
        memory=known["image_memory"],
        timeout=known["image_timeout"],
        workers=known["image_workers"],
        budget=known["image_budget"],
    )
    clamd = Clamd(Address.parse(bench.stack.settings["MEDIA_CLAMD"]))
    async with ImageRenderer(limits) as renderer:
        warm = _photo(folder / "warm.jpg", 99)
        await _scan(clamd, warm)
        await _render(renderer, warm, folder)
        yield clamd, renderer


async def _scan(clamd: Clamd, photo: Path) -> float:
    data = await asyncio.to_thread(photo.read_bytes)

    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
        async def pieces() -> AsyncIterator[bytes]:
            yield data

        yield pieces()

    began = time.perf_counter()
    await clamd.scan(opened, len(data))
    return time.perf_counter() - began


async def _render(renderer: ImageRenderer, photo: Path, folder: Path) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as outputs:
        began = time.perf_counter()
        await renderer.render(photo, Path(outputs))
        return time.perf_counter() - began


def _photo(path: Path, number: int) -> Path:
    """Write noise over a gradient: about as large, and as costly to encode, as a real photo."""
    noise = Image.effect_noise((SIZE[0] // 4, SIZE[1] // 4), 40 + number % 7).resize(SIZE)
    shade = Image.linear_gradient("L").resize(SIZE).rotate(number * 10)
    Image.merge("RGB", (noise, shade, Image.blend(noise, shade, 0.5))).save(path, quality=85)
    return path


def _goals(found: Found) -> list[tuple[str, float, float]]:
    per_file, single = found.per_file(), found.single
    parts = f"scan {single.scan:.3f} + renditions {single.render:.3f} + {OVERHEAD} + emulator's polling, 2 × {POLL}"
    return [
        ("CPU seconds of the consumer per photo", per_file["consumer_cpu"], CPU_GOAL),
        ("SQL statements per photo, API and consumer", per_file["sql"], SQL_GOAL),
        ("AWS calls per photo, polls included", per_file["aws"], AWS_GOAL),
        (f"seconds from PUT to ready ({parts})", single.ready, single.least + 2 * POLL),
    ]


def _as_json(found: Found) -> str:
    single = found.single
    goals = [{"text": text, "value": value, "most": most, "met": value <= most} for text, value, most in _goals(found)]
    report = {
        "files": found.files,
        "per_file": found.per_file(),
        "statements": {name: dict(kinds) for name, kinds in found.spent.statements.items()},
        "calls": dict(found.spent.calls),
        "single": {"ready": single.ready, "scan": single.scan, "render": single.render, "stages": single.stages},
        "goals": goals,
    }
    return json.dumps(report) + "\n"


def _as_text(found: Found) -> str:
    lines = [f"{found.files} photos of {SIZE[0]} × {SIZE[1]}: {found.per_file()['files_per_second']:.2f} per second"]
    for name, kinds in sorted(found.spent.statements.items()):
        lines += [f"  SQL of {name}, per photo:", *_kinds(kinds, found.files)]
    lines += ["  AWS calls of the consumer, per photo:", *_kinds(found.spent.calls, found.files)]
    lines += ["  One photo on the idle stack, seconds after its PUT was answered:"]
    lines += [f"    {at:7.3f}  {what}" for what, at in found.single.stages.items()]
    for text, value, most in _goals(found):
        lines.append(f"{'met    ' if value <= most else 'NOT MET'} {text}: {value:.3f} (goal ≤ {most:.3f})")
    return "\n".join(lines) + "\n"


def _kinds(kinds: Counter[str], files: int) -> list[str]:
    return [f"    {count / files:7.2f}  {what}" for what, count in kinds.most_common()]


if __name__ == "__main__":
    sys.exit(main())
