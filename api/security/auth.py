"""Authentication by Bearer JWTs, verified with keys whose algorithm is fixed before the token is read."""

import base64
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
"""Seconds by which clocks may differ."""
TOKEN_LIMIT = 8192
"""Characters of a token. aiohttp accepts no longer header line. Our tokens have some 300."""
SUBJECT_LIMIT = 256
"""Characters of `sub`, for every role. OpenID Connect allows 255."""
PARTS = 3
"""Parts of a token: header, claims and signature."""
CACHE_LIMIT = 10_000
"""Verified tokens that are cached, of some hundred bytes each."""


class Role(StrEnum):
    USER = "user"
    SERVICE = "service"
    ADMIN = "admin"


_PRIVILEGED = frozenset({Role.SERVICE.value, Role.ADMIN.value})


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request. `owner_scope` is the owner whose assets it may see, or None for all.

    `until` (Unix seconds) is when its token expires, leeway included.
    """

    subject: str
    role: Role
    until: float = field(default=math.inf, compare=False)

    @property
    def owner_scope(self) -> str | None:
        return self.subject if self.role is Role.USER else None

    def owner_id(self) -> str:
        """Return the owner of this caller's uploads. Raises ProblemError(owner_id_not_allowed)."""
        if not OWNER_ID.fullmatch(self.subject):
            raise ProblemError(ProblemCode.OWNER_ID_NOT_ALLOWED, "`sub` must match [A-Za-z0-9_-]{1,64}")
        return self.subject


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A key and the one algorithm that it is used with. `second` is tried where a signature is not by this one."""

    key: Any
    algorithm: str
    second: "VerificationKey | None" = None


class KeySet(Protocol):
    """A source of keys. `find` raises ProblemError(unauthenticated) when there is none for `kid`.

    `are_known` says whether keys were ever loaded, and tries to load them until then.
    """

    async def find(self, kid: str | None) -> VerificationKey: ...

    async def are_known(self) -> bool: ...


class SecretKey:
    """One HS256 secret for all tokens, or two while it is rotated. The tokens' `kid` is ignored."""

    def __init__(self, secret: str, second: str | None = None) -> None:
        other = VerificationKey(second.encode(), "HS256") if second else None
        self._key = VerificationKey(secret.encode(), "HS256", other)

    async def find(self, _kid: str | None) -> VerificationKey:
        return self._key

    async def are_known(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class _VerifiedToken:
    """The caller of a token that was verified, the key, and from when until when (Unix seconds) the token is valid."""

    caller: Caller
    kid: str | None
    key: VerificationKey
    not_before: float
    expires: float


class Authenticator:
    """Turn an Authorization header into a Caller. `clock` returns Unix seconds."""

    def __init__(self, keys: KeySet, issuer: str | None, audience: str | None, clock: Callable[[], float]) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._verified: dict[str, _VerifiedToken] = {}

    async def has_keys(self) -> bool:
        """Say whether keys to verify tokens with were ever loaded."""
        return await self._keys.are_known()

    async def caller(self, header: str | None) -> Caller:
        """Return the sender of this `Authorization` header. Raises ProblemError(unauthenticated, token_expired, …)."""
        scheme, _, token = (header or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise _refused("a Bearer token is needed", error="")
        if len(token) > TOKEN_LIMIT:
            raise _refused("the token is too long")
        token = token.strip()
        now = self._clock()
        verified = self._verified.get(token)
        if (
            verified
            and verified.not_before <= now < verified.expires
            # The key must still be the same: a withdrawn one must not live on in this cache.
            and await self._keys.find(verified.kid) is verified.key
        ):
            return verified.caller
        kid = _read_kid(token)
        key = await self._keys.find(kid)
        claims = self._claims(token, key)
        caller = _caller_of(claims)
        if len(self._verified) >= CACHE_LIMIT:
            self._verified.clear()
        not_before = _read_time(claims.get("nbf", 0)) - LEEWAY
        self._verified[token] = _VerifiedToken(caller, kid, key, not_before, caller.until)
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
        except jwt.InvalidSignatureError as error:
            if key.second:
                return self._claims(token, key.second)
            raise _refused("the token is not valid") from error
        except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError) as error:
            raise ProblemError(ProblemCode.TOKEN_EXPIRED, str(error), headers=_challenge("invalid_token")) from error
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
            raise _refused("the token is not valid") from error


def _read_kid(token: str) -> str | None:
    # PyJWT skips foreign characters, padding and stray bits: one token would have many spellings (RFC 7515, 2).
    parts = token.split(".")
    try:
        decoded = [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in parts]
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError) as error:
        raise _refused("the token is not a JWT") from error
    spelled = [base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in decoded]
    if len(parts) != PARTS or spelled != parts:
        raise _refused("the token is not a JWT")
    if "crit" in header:
        raise _refused("the token demands extensions that this service does not know")
    kid: str | None = header.get("kid")
    return kid


def _caller_of(claims: dict[str, Any]) -> Caller:
    claimed = claims.get("role")
    role = Role(claimed) if isinstance(claimed, str) and claimed in _PRIVILEGED else Role.USER
    caller = Caller(str(claims["sub"]), role, _read_time(claims["exp"]) + LEEWAY)
    if role is Role.USER:
        caller.owner_id()
    elif len(caller.subject) > SUBJECT_LIMIT or not caller.subject.isprintable():
        raise _refused("`sub` is too long, or no text")
    return caller


def _read_time(claim: Any) -> float:
    """Convert a claim that PyJWT found valid to Unix seconds. Raises ProblemError(unauthenticated) if it overflows."""
    try:
        return float(claim)
    except OverflowError as error:
        raise _refused("the token is not valid") from error


def _challenge(error: str) -> dict[str, str]:
    return {"WWW-Authenticate": f'Bearer realm="media", error="{error}"' if error else 'Bearer realm="media"'}


def _refused(detail: str, *, error: str = "invalid_token") -> ProblemError:
    return ProblemError(ProblemCode.UNAUTHENTICATED, detail, headers=_challenge(error))
