"""`python healthy.py URL`: exit status 0 when it answers 2xx within 4 s. The image has no curl, and needs none."""

import sys
from urllib.error import URLError
from urllib.request import urlopen

DEADLINE = 4.0
"""Seconds, below the 5 that ECS and Docker are told to wait."""


def main(arguments: list[str]) -> int:
    """Exit status 0 healthy, 1 not, 2 wrong usage."""
    if len(arguments) != 1 or not arguments[0].startswith("http://127.0.0.1:"):
        sys.stderr.write("usage: healthy.py http://127.0.0.1:PORT/PATH\n")
        return 2
    try:
        with urlopen(arguments[0], timeout=DEADLINE):  # noqa: S310 - the scheme was just checked
            return 0
    except (URLError, OSError) as error:
        sys.stderr.write(f"{arguments[0]}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
