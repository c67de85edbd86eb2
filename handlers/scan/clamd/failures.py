"""What each error of a call to clamd means. docs/failures.md shows the table, and what clamd's replies mean."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from media.errors import Dependency, FailureKind, MediaError, UnavailableError

log = structlog.get_logger(__name__)

MEANINGS: tuple[tuple[str, FailureKind, str], ...] = (
    (
        "`stream: … FOUND`, `fd[n]: … FOUND`",
        FailureKind.INPUT,
        "infected, encrypted, or beyond what clamd looks into",
    ),
    ("`INSTREAM size limit exceeded. ERROR`", FailureKind.INPUT, "the file is larger than clamd takes"),
    (
        "any other reply, none, `OK` too early",
        FailureKind.BUG,
        "no verdict, and the file may be why; unavailable where the self-test, or the PING before the file, fails too",
    ),
    ("silence amid a scan", FailureKind.BUG, "likewise; a clamd that still answers PING has the time for one scan"),
    (
        "`OSError` before and amid a scan; an end or silence before the first byte of the file, or its descriptor",
        FailureKind.UNAVAILABLE,
        "no connection, or it is cut",
    ),
    ("another answer to VERSION or to the self-test", FailureKind.UNAVAILABLE, "no clamd, or one set up wrongly"),
    ("any other exception of a probe", FailureKind.UNAVAILABLE, "an answer that clamd never gives"),
)
"""What is met, its kind and its meaning."""


@contextmanager
def clamd_calls(address: object) -> Iterator[None]:
    """Turn every failure of a call that sends no file into UnavailableError."""
    try:
        yield
    except (MediaError, UnavailableError):
        raise
    except TimeoutError as error:
        raise UnavailableError(Dependency.CLAMD, f"{address} does not answer") from error
    except Exception as error:
        if not isinstance(error, OSError):
            log.exception("clamd.unforeseen", clamd=str(address))
        raise UnavailableError(Dependency.CLAMD, f"{address}: {type(error).__name__}: {error}") from error
