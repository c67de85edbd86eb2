"""The unchanged consumer, with its AWS calls counted by botocore's events. On SIGUSR1 the counts are written to a file.

The file's name is in MEDIA_BENCH_CALLS; a line per operation: its name and how often it was sent.
"""

import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from aiobotocore.session import AioSession

from consumer.__main__ import main
from media.aws import clients as aws

CALLS: Counter[str] = Counter()


class CountingSession(AioSession):
    """A session whose clients count the requests that they send, retries included."""

    def __init__(self) -> None:
        super().__init__()
        self.register("before-send", _count)


def _count(event_name: str, **_rest: Any) -> None:
    CALLS[event_name.removeprefix("before-send.")] += 1


def _write(*_signal: object) -> None:
    path = Path(os.environ["MEDIA_BENCH_CALLS"])
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text("".join(f"{name} {count}\n" for name, count in CALLS.items()), encoding="ascii")
    unfinished.rename(path)


if __name__ == "__main__":
    setattr(aws, "AioSession", CountingSession)  # noqa: B010 - the one place where clients are made
    signal.signal(signal.SIGUSR1, _write)
    sys.exit(main())
