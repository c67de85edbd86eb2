"""The old name of `python -m consumer.cli dlq`, for one release."""

import sys

from consumer.cli.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["dlq", *sys.argv[1:]], alias="consumer.dlq"))
