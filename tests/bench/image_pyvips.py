"""The benchmark's pyvips server. The interpreter that has pyvips runs it, so it imports none of our modules."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import pyvips

WIDTHS = (150, 320, 640, 1024, 1920)


def render(job: list[str]) -> None:
    source, folder = job
    width = pyvips.Image.new_from_file(source).autorot().width
    for index, name in enumerate(WIDTHS):
        if index and WIDTHS[index - 1] >= width:
            break
        image = pyvips.Image.thumbnail(source, min(name, width), height=100_000)
        image.webpsave(f"{folder}/w{name}.webp", Q=80, effort=4, keep="none")


def main() -> None:
    with ThreadPoolExecutor(2) as pool:
        for line in sys.stdin:
            list(pool.map(render, json.loads(line)))
            sys.stdout.write("ok\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
