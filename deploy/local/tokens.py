"""Tokens for the running stack, signed with its state folder's secret. The identity service issues the real ones."""

import time

import jwt

ISSUER = "docfliq-local"
LIFETIME = 30 * 24 * 3600
"""Seconds: thirty days, the time for which a stack may keep running on a laptop."""


def mint(secret: str, *, user: str, role: str, lifetime: int = LIFETIME) -> str:
    """Return a bearer token for `user`, valid for `lifetime` seconds."""
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": user, "role": role, "iat": now, "exp": now + lifetime}
    return jwt.encode(claims, secret, algorithm="HS256")
