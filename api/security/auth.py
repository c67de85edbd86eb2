"""Who is asking: Bearer JWTs, checked with keys whose algorithm is fixed before the token is looked at."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import jwt
from jwt.types import Options

from api.problems import ProblemCode, ProblemError
from media.asset import OWNER_ID

LEEWAY = 30.0
"""Seconds that clocks may differ by."""
TOKEN_LIMIT = 8192
"""Characters. aiohttp takes no longer header line; a token of ours has some 300."""
SUBJECT_LIMIT = 256
"""Characters of `sub`, whatever the role; OpenID Connect allows 255."""
CACHE_LIMIT = 10_000
"""Checked tokens kept; each some hundred bytes."""


class Role(StrEnum):
    USER = "user"
    SERVICE = "service"
    ADMIN = "admin"


_PRIVILEGED = frozenset({Role.SERVICE.value, Role.ADMIN.value})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent the request. `owner_scope` is the owner whose assets it may see; None for all.

    `until` (Unix seconds) is when what it showed us ends, leeway included.
    """

    subject: str
    role: Role
    until: float = field(default=math.inf, compare=False)

    @property
    def owner_scope(self) -> str | None:
        return self.subject if self.role is Role.USER else None

    def owner_id(self) -> str:
        """The owner of what this caller uploads. Raises ProblemError(owner_id_not_allowed)."""
        if not OWNER_ID.fullmatch(self.subject):
            raise ProblemError(ProblemCode.OWNER_ID_NOT_ALLOWED, "`sub` must match [A-Za-z0-9_-]{1,64}")
        return self.subject


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A key together with the one algorithm that it is used with."""

    key: Any
    algorithm: str


class KeySet(Protocol):
    """Where keys come from. `find` raises ProblemError(unauthenticated) when there is none for `kid`.

    `are_known` says whether there ever were any, and asks for them until then.
    """

    async def find(self, kid: str | None) -> VerificationKey: ...

    async def are_known(self) -> bool: ...


class SecretKey:
    """One HS256 secret for all tokens; a `kid` means nothing to it."""

    def __init__(self, secret: str) -> None:
        self._key = VerificationKey(secret.encode(), "HS256")

    async def find(self, _kid: str | None) -> VerificationKey:
        return self._key

    async def are_known(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class _Known:
    """A token that was checked before, with which key, and until when (Unix seconds) that holds."""

    caller: Caller
    kid: str | None
    key: VerificationKey
    not_before: float
    expires: float


class Authenticator:
    """Turns an Authorization header into a Caller. `clock` gives Unix seconds."""

    def __init__(self, keys: KeySet, issuer: str | None, audience: str | None, clock: Callable[[], float]) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._known: dict[str, _Known] = {}

    async def has_keys(self) -> bool:
        """Whether there ever was a key to check tokens with."""
        return await self._keys.are_known()

    async def caller(self, header: str | None) -> Caller:
        """Who sent this `Authorization` header. Raises ProblemError(unauthenticated, token_expired, …)."""
        scheme, _, token = (header or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise _refused("a Bearer token is needed", error="")
        if len(token) > TOKEN_LIMIT:
            raise _refused("the token is too long")
        token = token.strip()
        now = self._clock()
        known = self._known.get(token)
        # Still the very same key: one that was withdrawn must not live on in this cache.
        if known and known.not_before <= now < known.expires and await self._keys.find(known.kid) is known.key:
            return known.caller
        kid = _kid(token)
        key = await self._keys.find(kid)
        claims = self._claims(token, key)
        caller = _caller(claims)
        if len(self._known) >= CACHE_LIMIT:
            self._known.clear()
        self._known[token] = _Known(caller, kid, key, _second(claims.get("nbf", 0)) - LEEWAY, caller.until)
        return caller

    def _claims(self, token: str, key: VerificationKey) -> dict[str, Any]:
        options: Options = {
            "require": ["exp", "sub", *(["iss"] if self._issuer else []), *(["aud"] if self._audience else [])],
            "verify_aud": self._audience is not None,
            "verify_iss": self._issuer is not None,
        }
        try:
            return jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY,
                options=options,
            )
        except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError) as error:
            raise ProblemError(ProblemCode.TOKEN_EXPIRED, str(error), headers=_challenge("invalid_token")) from error
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
            raise _refused("the token is not valid") from error


def _kid(token: str) -> str | None:
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError) as error:
        raise _refused("the token is not a JWT") from error
    if "crit" in header:
        raise _refused("the token demands extensions that this service does not know")
    kid: str | None = header.get("kid")
    return kid


def _caller(claims: dict[str, Any]) -> Caller:
    role = claims.get("role")
    known = Role(role) if isinstance(role, str) and role in _PRIVILEGED else Role.USER
    caller = Caller(str(claims["sub"]), known, _second(claims["exp"]) + LEEWAY)
    if known is Role.USER:
        caller.owner_id()
    elif len(caller.subject) > SUBJECT_LIMIT or not caller.subject.isprintable():
        raise _refused("`sub` is too long, or no text")
    return caller


def _second(claim: Any) -> float:
    """A date that was found valid. Raises ProblemError(unauthenticated) for one that no clock ever shows."""
    try:
        return float(claim)
    except OverflowError as error:
        raise _refused("the token is not valid") from error


def _challenge(error: str) -> dict[str, str]:
    return {"WWW-Authenticate": f'Bearer realm="media", error="{error}"' if error else 'Bearer realm="media"'}


def _refused(detail: str, *, error: str = "invalid_token") -> ProblemError:
    return ProblemError(ProblemCode.UNAUTHENTICATED, detail, headers=_challenge(error))
