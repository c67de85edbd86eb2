"""What clamd's reply means. Clean is one exact answer; every doubt counts as not clean."""

import re
from dataclasses import dataclass

from handlers.scan.clamd.instream import Reply
from media.asset import Verdict
from media.errors import Code

_CLEAN = b"stream: OK\0"
_FOUND = re.compile(rb"stream: (\S[^\0\n]*) FOUND\0")
_TOO_LARGE = b"INSTREAM size limit exceeded. ERROR\0"


@dataclass(frozen=True, slots=True)
class ScanFinding:
    """A verdict with the signature that led to it, and the code that a user sees when it is not clean."""

    verdict: Verdict
    code: Code | None = None
    signature: str = ""


def read_reply(reply: Reply) -> ScanFinding:
    """Read a reply, whole and with the NUL that ends it.

    Cut off, empty, unknown or repeated replies are `error`: the scan has to be done again. So is a clean one that came
    before all bytes were sent. An infection, or that the file is too large, may be told early.
    """
    if reply.said == _CLEAN:
        return ScanFinding(Verdict.CLEAN) if reply.complete else _doubt(b"OK before all was sent")
    if reply.said == _TOO_LARGE:
        return ScanFinding(Verdict.UNSCANNABLE, Code.TOO_LARGE_TO_SCAN)
    found = _FOUND.fullmatch(reply.said)
    if found is None:
        return _doubt(reply.said)
    signature = found.group(1).decode(errors="replace")
    if signature.startswith("Heuristics.Limits.Exceeded"):
        return ScanFinding(Verdict.UNSCANNABLE, Code.UNSCANNABLE, signature)
    if signature.startswith("Heuristics.Encrypted"):
        return ScanFinding(Verdict.UNSCANNABLE, Code.ENCRYPTED, signature)
    return ScanFinding(Verdict.INFECTED, Code.INFECTED, signature)


def _doubt(said: bytes) -> ScanFinding:
    return ScanFinding(Verdict.ERROR, Code.SCANNER_ERROR, said[:200].decode(errors="replace"))
