"""What clamd's reply means. Clean is one exact answer; every doubt counts as not clean."""

import re
from dataclasses import dataclass

from media.asset import Verdict
from media.errors import Code

_CLEAN = b"stream: OK"
_FOUND = re.compile(rb"stream: (\S[^\0\n]*) FOUND")
_TOO_LARGE = b"INSTREAM size limit exceeded. ERROR"


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict with the signature that led to it, and the code that a user sees when it is not clean."""

    verdict: Verdict
    code: Code | None = None
    signature: str = ""


def finding_of(reply: bytes) -> Finding:
    """Read a reply as clamd sends it, without its final NUL (one that is still there is taken off).

    Cut off, empty or unknown replies are `error`: the scan has to be done again.
    """
    said = reply.removesuffix(b"\0").removesuffix(b"\n")
    if said == _CLEAN:
        return Finding(Verdict.CLEAN)
    if said == _TOO_LARGE:
        return Finding(Verdict.UNSCANNABLE, Code.TOO_LARGE_TO_SCAN)
    found = _FOUND.fullmatch(said)
    if found is None:
        return Finding(Verdict.ERROR, Code.SCANNER_ERROR, said[:200].decode(errors="replace"))
    return _named(found.group(1).decode(errors="replace"))


def _named(signature: str) -> Finding:
    if signature.startswith("Heuristics.Limits.Exceeded"):
        return Finding(Verdict.UNSCANNABLE, Code.UNSCANNABLE, signature)
    if signature.startswith("Heuristics.Encrypted"):
        return Finding(Verdict.UNSCANNABLE, Code.ENCRYPTED, signature)
    return Finding(Verdict.INFECTED, Code.INFECTED, signature)
