"""Reads clamd's reply. One exact answer is clean; anything doubtful is not."""

import re
from dataclasses import dataclass

from handlers.scan.clamd.instream import Reply
from media.asset import Verdict
from media.errors import Code

_CLEAN = re.compile(rb"(?:stream|fd\[\d{1,9}\]): OK\0")
"""A streamed file's reply, or one's that was handed over by a descriptor: clamd names its own number for it."""
_FOUND = re.compile(rb"(?:stream|fd\[\d{1,9}\]): (\S[^\0\n]*) FOUND\0")
_TOO_LARGE = b"INSTREAM size limit exceeded. ERROR\0"


@dataclass(frozen=True, slots=True)
class ScanFinding:
    """A verdict, the signature that led to it, and the code that a user sees when the file is not clean."""

    verdict: Verdict
    code: Code | None = None
    signature: str = ""


def read_reply(reply: Reply) -> ScanFinding:
    """Read a complete reply, including the NUL that ends it.

    Cut off, empty, unknown or repeated replies are `error`: the scan must be repeated. So is a clean reply that came
    before all bytes were sent. Only an infection or too large a file may be reported early.
    """
    if _CLEAN.fullmatch(reply.said):
        return ScanFinding(Verdict.CLEAN) if reply.complete else _error(b"OK before all was sent")
    if reply.said == _TOO_LARGE:
        return ScanFinding(Verdict.UNSCANNABLE, Code.TOO_LARGE_TO_SCAN)
    found = _FOUND.fullmatch(reply.said)
    if found is None:
        return _error(reply.said)
    signature = found.group(1).decode(errors="replace")
    if signature.startswith("Heuristics.Limits.Exceeded"):
        return ScanFinding(Verdict.UNSCANNABLE, Code.UNSCANNABLE, signature)
    if signature.startswith("Heuristics.Encrypted"):
        return ScanFinding(Verdict.UNSCANNABLE, Code.ENCRYPTED, signature)
    return ScanFinding(Verdict.INFECTED, Code.INFECTED, signature)


def _error(said: bytes) -> ScanFinding:
    return ScanFinding(Verdict.ERROR, Code.SCANNER_ERROR, said[:200].decode(errors="replace"))
