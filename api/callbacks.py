"""Signed internal callbacks: `X-Media-Signature: t=<unix>,v1=<hex HMAC-SHA256 of "t.body">`."""

import hmac
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from api.problems import ProblemCode, ProblemError

TOLERANCE = 300
"""Seconds that a signature may be old, or ahead by another clock."""
REMEMBERED = 50_000
"""Signatures kept, at most; past that the oldest go first."""
_HEADER = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})")


def sign(secret: str, body: bytes, at: int) -> str:
    """The header for `body` at Unix second `at`."""
    digest = hmac.digest(secret.encode(), b"%d." % at + body, "sha256")
    return f"t={at},v1={digest.hex()}"


class Callbacks:
    """Checks signatures. `clock` gives Unix seconds.

    A replay is refused by the process that saw the first; another one lets it pass within the tolerance, where it
    changes nothing: what a callback asks for is done once, whoever asks how often.
    """

    def __init__(self, secret: str, clock: Callable[[], float]) -> None:
        self._secret = secret
        self._clock = clock
        self._seen: dict[str, float] = {}

    @contextmanager
    def once(self, header: str | None, body: bytes) -> Iterator[None]:
        """Holds for one callback; when the block fails, the same one may come again.

        Raises ProblemError(signature_invalid, signature_replayed).
        """
        signature = self._verified(header, body)
        try:
            yield
        except BaseException:
            self._seen.pop(signature, None)
            raise

    def _verified(self, header: str | None, body: bytes) -> str:
        found = _HEADER.fullmatch(header or "")
        if not found:
            raise ProblemError(ProblemCode.SIGNATURE_INVALID, "X-Media-Signature is missing or malformed")
        now, at = self._clock(), int(found[1])
        expected = sign(self._secret, body, at)
        if not hmac.compare_digest(expected, found[0]) or abs(now - at) > TOLERANCE:
            raise ProblemError(ProblemCode.SIGNATURE_INVALID, "the signature is wrong or too old")
        self._remember(found[2], now)
        return found[2]

    def _remember(self, signature: str, now: float) -> None:
        while self._seen:
            oldest = next(iter(self._seen))
            # Twice the tolerance: a signature may be dated ahead, and lives until it is that old.
            if now - self._seen[oldest] <= 2 * TOLERANCE and len(self._seen) < REMEMBERED:
                break
            del self._seen[oldest]
        if signature in self._seen:
            raise ProblemError(ProblemCode.SIGNATURE_REPLAYED)
        self._seen[signature] = now
