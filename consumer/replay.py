"""The old name of `python -m consumer.cli replay`, for one release."""

import sys

from consumer.cli.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["replay", *sys.argv[1:]], alias="consumer.replay"))
