"""The program of a pooled child: it reads one job a line and answers with one line, until its input ends.

Run by path with `python -I`: ROOT MODULE:FACTORY CPU_SECONDS. FACTORY is called once and returns the function that
turns a job into a reply, both strings. The answers are `{"ok": …}`, `{"memory": …}`, `{"output": …}`,
`{"full": …}` and `{"failed": traceback}`.
"""

import errno
import importlib
import json
import os
import resource
import sys
import traceback
from collections.abc import Callable
from typing import BinaryIO

type Work = Callable[[str], str]

_KINDS = {errno.EFBIG: "output", errno.ENOSPC: "full", errno.EDQUOT: "full"}


def main(root: str, target: str, cpu_seconds: int) -> None:
    """Serve jobs from standard input until it ends."""
    # Keep the reply pipe for replies: what a library prints goes to standard error.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.path.insert(0, root)
    module, _, factory = target.partition(":")
    work: Work = getattr(importlib.import_module(module), factory)()
    _send(replies, {"ok": "ready"})
    for line in sys.stdin.buffer:
        # Each job has its own share of CPU. The hard limit bounds the child's whole life.
        usage = resource.getrusage(resource.RUSAGE_SELF)
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        soft = int(usage.ru_utime + usage.ru_stime) + 1 + cpu_seconds
        resource.setrlimit(resource.RLIMIT_CPU, (min(soft, hard), hard))
        _send(replies, _answer(work, json.loads(line)))


def _answer(work: Work, job: str) -> dict[str, str]:
    try:
        return {"ok": work(job)}
    except MemoryError:
        return {"memory": "the limit of address space was met"}
    except OSError as error:
        return {_KINDS.get(error.errno or 0, "failed"): traceback.format_exc(limit=-6)}
    except Exception:  # noqa: BLE001 - the parent decides what an undeclared error means, and gets all of it
        return {"failed": traceback.format_exc(limit=-6)}


def _send(replies: BinaryIO, answer: dict[str, str]) -> None:
    replies.write(json.dumps(answer).encode() + b"\n")
    replies.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
