"""One job in a pool of children: a second try after a crash, and the service's errors for those of the sandbox."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from handlers.sandbox import (
    ChildCrashedError,
    ChildDiskFullError,
    ChildStartError,
    JobFailedError,
    SandboxError,
    WorkerPool,
)
from handlers.scratch import is_full, no_room
from media.errors import Code, RejectedError, RetryableError

log = structlog.get_logger(__name__)


async def run_job[Reply](
    pool: WorkerPool,
    job: str,
    decode: Callable[[str], Reply],
    *,
    seconds: float,
    folder: Path,
    code_when_exhausted: Code | None = None,
) -> Reply:
    """Run one job, and once more in what is left of `seconds` if the child crashes; return its decoded reply.

    A crash has other causes too, such as a machine short of memory. The file is blamed after the second one. `decode`
    raises ValueError, KeyError, TypeError or AttributeError; `folder` is where the child writes.

    Raises RejectedError `resource_limit`; RetryableError `worker_crashed` when no child could be started or the disk is
    full, and `unforeseen` (then `code_when_exhausted`) when the job raised an error that it does not declare.
    """
    begun = time.monotonic()
    try:
        try:
            return _decoded(await pool.run(job), decode)
        except ChildCrashedError as error:
            log.warning("child.crashed", error=str(error))
            async with asyncio.timeout(max(0.0, begun + seconds - time.monotonic())):
                return _decoded(await pool.run(job), decode)
    except ChildStartError as error:
        raise RetryableError(Code.WORKER_CRASHED, str(error)) from error
    except ChildDiskFullError as error:
        # A compromised child may always claim this: believe it only when the disk is seen to be full.
        if await asyncio.to_thread(is_full, folder):
            raise no_room() from error
        raise RetryableError(Code.WORKER_CRASHED, "the disk was full for a moment") from error
    except JobFailedError as error:
        log.error("child.job_failed", trace=str(error))  # noqa: TRY400 - the child's trace is the one that matters
        last = str(error).strip().rpartition("\n")[2]
        raise RetryableError(Code.UNFORESEEN, last, code_when_exhausted=code_when_exhausted) from error
    except (SandboxError, TimeoutError) as error:
        raise RejectedError(Code.RESOURCE_LIMIT, str(error)) from error


def _decoded[Reply](line: str, decode: Callable[[str], Reply]) -> Reply:
    try:
        return decode(line)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ChildCrashedError(f"the child's reply makes no sense: {error}") from error
