"""Measures a captured frame: reads a JPEG from stdin and prints mean and standard deviation of its luma.

Run by path with `python -I` in a sandbox. It imports nothing of this project, so that it starts fast and the sandbox
needs no other files.
"""

import sys
from io import BytesIO

from PIL import Image, ImageStat

SIDE = 64
"""Pixels of the square that is measured: noise and coding errors vanish in it, lines of text still count."""


def main() -> None:
    with Image.open(BytesIO(sys.stdin.buffer.read()), formats=("JPEG",)) as image:
        image.draft("L", (SIDE, SIDE))
        gray = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    found = ImageStat.Stat(gray)
    sys.stdout.write(f"{found.mean[0]:.3f} {found.stddev[0]:.3f}\n")


if __name__ == "__main__":
    main()
