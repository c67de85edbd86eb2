"""What a captured frame looks like: run by path with `python -I` in a sandbox, JPEG in, mean and spread of luma out.

Knows nothing of this project, so that it starts fast and can be alone with its picture.
"""

import sys
from io import BytesIO

from PIL import Image, ImageStat

SIDE = 64
"""Pixels. Small enough for noise and the encoder's own errors to vanish, large enough for lines of text to count."""


def main() -> None:
    with Image.open(BytesIO(sys.stdin.buffer.read()), formats=("JPEG",)) as image:
        image.draft("L", (SIDE, SIDE))
        grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    found = ImageStat.Stat(grey)
    sys.stdout.write(f"{found.mean[0]:.3f} {found.stddev[0]:.3f}\n")


if __name__ == "__main__":
    main()
