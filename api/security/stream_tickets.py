"""Tickets: a caller's permission for one minute, in a URL. EventSource cannot send headers."""

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta

from api.problems import ProblemCode, ProblemError
from api.security.auth import Caller, Role

LIFETIME = timedelta(minutes=1)
"""How long a ticket is valid, unless its caller's token ends before."""


class Tickets:
    """Make and check tickets. They hold the caller and when its token ends, signed with keys of their own.

    The first of the secrets signs, all are accepted.
    """

    def __init__(self, *secrets: str) -> None:
        self._keys = [hmac.digest(secret.encode(), b"docfliq media ticket 2", "sha256") for secret in secrets]

    def make(self, caller: Caller, now: datetime) -> tuple[str, datetime]:
        """Make a ticket, and say when it ends: in a minute, or with the token."""
        end = min((now + LIFETIME).timestamp(), caller.until)
        claims = [caller.subject, caller.role, int(end), caller.until]
        payload = json.dumps(claims, separators=(",", ":"), ensure_ascii=False)
        text = base64.urlsafe_b64encode(payload.encode()).decode()
        return f"{text}.{_signature(self._keys[0], text)}", datetime.fromtimestamp(end, UTC)

    def caller(self, ticket: str, now: datetime) -> Caller:
        """Return the caller that the ticket was made for. Raises ProblemError(unauthenticated, token_expired)."""
        text, _, signature = ticket.partition(".")
        if not ticket.isascii() or not any(hmac.compare_digest(signature, _signature(key, text)) for key in self._keys):
            raise ProblemError(ProblemCode.UNAUTHENTICATED, "the ticket is not valid")
        subject, role, end, until = json.loads(base64.urlsafe_b64decode(text))
        if datetime.fromtimestamp(end, UTC) <= now:
            raise ProblemError(ProblemCode.TOKEN_EXPIRED, "ask for a new ticket")
        return Caller(subject, Role(role), until)


def _signature(key: bytes, text: str) -> str:
    digest = hmac.digest(key, text.encode(), "sha256")
    return base64.urlsafe_b64encode(digest[:24]).decode()
