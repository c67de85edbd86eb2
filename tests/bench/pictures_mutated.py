"""Damage pictures of a folder and render them: `python -m tests.bench.pictures_mutated FOLDER [--number 500]`.

Each ends as renditions or a rejection. Prints how they ended and the slowest; a child that died, or that ran into its
limit of time or memory, is a failure.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from handlers.image.renderer import ImageRenderer
from media.errors import Code, MediaError, RejectedError
from tests.bench.pictures import LIMITS, pictures_in

LARGEST = 2 * 1024 * 1024
"""Bytes of a picture that is damaged."""


def damage(content: bytes, chance: random.Random) -> bytes:
    """Change, remove, repeat or cut bytes; half of the changes are in the first 2,000."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(min(len(data), chance.choice([2000, len(data)])))
        match chance.randrange(4):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                data[at : at + 4] = chance.choice([bytes(4), b"\xff" * 4, b"\0\0\0\1", b"\x7f\xff\xff\xff"])
            case 2:
                del data[at : at + chance.randint(1, 30)]
            case _:
                data[at:at] = data[max(0, at - 40) : at]
        if len(data) < 20:
            break
    return bytes(data[: chance.randrange(len(data))] if chance.random() < 0.1 else data)


async def render_all(files: list[Path], number: int, seed: int) -> bool:
    """Render the damaged pictures, and return whether every one ended as it may."""
    chance, ends, slowest = random.Random(seed), Counter[str](), (0.0, "")  # noqa: S311 - no secret
    bad = []
    with tempfile.TemporaryDirectory(prefix="bench-mutated-") as folder:
        source, out = Path(folder) / "source", Path(folder) / "out"
        await asyncio.to_thread(out.mkdir)
        async with ImageRenderer(LIMITS) as renderer:
            for _ in range(number):
                path = chance.choice(files)
                content = damage(await asyncio.to_thread(path.read_bytes), chance)
                await asyncio.to_thread(source.write_bytes, content)
                begun, end = time.perf_counter(), "rendered"
                try:
                    await renderer.render(source, out)
                except MediaError as error:
                    end = str(error.code)
                    if not isinstance(error, RejectedError) or error.code is Code.RESOURCE_LIMIT:
                        bad.append(f"{path}: {end}: {error.detail[:300]}")
                ends[end] += 1
                slowest = max(slowest, (time.perf_counter() - begun, path.name))
    print("\n".join(bad))
    print(f"pictures {number}, {dict(ends.most_common())}; slowest {slowest[0]:.1f} s, {slowest[1]}; bad {len(bad)}")
    return not bad


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--number", type=int, default=500)
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    chosen = [path for path in pictures_in(given.folder) if 20 < path.stat().st_size <= LARGEST]
    sys.exit(not asyncio.run(render_all(chosen, given.number, given.seed)))
