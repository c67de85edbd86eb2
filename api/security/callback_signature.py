"""Signed internal callbacks: `X-Media-Signature: t=<unix>,v1=<hex HMAC-SHA256 of "t.body">`."""

import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from api.problems import ProblemCode, ProblemError

TOLERANCE = 300
"""Seconds by which a signature may be old, or ahead of our clock."""
_HEADER = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})")


def sign(secret: str, body: bytes, at: int) -> str:
    """Make the header for `body` at Unix second `at`."""
    digest = hmac.digest(secret.encode(), b"%d." % at + body, "sha256")
    return f"t={at},v1={digest.hex()}"


@dataclass(frozen=True, slots=True)
class Signature:
    """A valid signature. It is accepted once, and may be forgotten at `expires_at`: it is no longer valid then."""

    digest: str
    expires_at: datetime


class Callbacks:
    """Verify signatures by any of `secrets`. `clock` returns Unix seconds.

    The database makes sure that none is accepted twice.
    """

    def __init__(self, secrets: Sequence[str], clock: Callable[[], float]) -> None:
        self._secrets = secrets
        self._clock = clock

    def verify(self, header: str | None, body: bytes) -> Signature:
        """Verify the signature of `body` and return it. Raises ProblemError(signature_invalid)."""
        found = _HEADER.fullmatch(header or "")
        if not found:
            raise ProblemError(ProblemCode.SIGNATURE_INVALID, "X-Media-Signature is missing or malformed")
        now, at = self._clock(), int(found[1])
        is_ours = any(hmac.compare_digest(sign(secret, body, at), found[0]) for secret in self._secrets)
        if not is_ours or abs(now - at) > TOLERANCE:
            raise ProblemError(ProblemCode.SIGNATURE_INVALID, "the signature is wrong or too old")
        # Twice the tolerance from now: it may be dated ahead, and the database has a clock of its own.
        return Signature(found[2], datetime.fromtimestamp(now + 2 * TOLERANCE, UTC))
