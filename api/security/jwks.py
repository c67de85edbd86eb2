"""Public keys by JWKS: cached, fetched again when a `kid` is unknown (but not often), kept through an outage."""

import asyncio
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWTError
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from api.problems import ProblemCode, ProblemError
from api.security.auth import VerificationKey

log = structlog.get_logger(__name__)

MAX_AGE = 600.0
"""Seconds after which the keys are fetched again, so that a withdrawn key is no longer accepted."""
FLOOR = 10.0
"""Seconds between two requests, at least: tokens with made-up `kid`s must not load the identity service."""
DEADLINE = 5.0
"""Seconds for one request."""
SIZE_LIMIT = 256 * 1024
"""Bytes of a JWKS."""
KEYS_LIMIT = 100
"""Keys that are read of one JWKS."""
RSA_BITS = 2048
"""Bits that an RSA key must have."""
RSA_EXPONENT = 65537
"""Least public exponent of an RSA key (FIPS 186-5, A.1.1)."""
ROCA_PRIMES = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)
"""Modulo these, a key of Infineon's library is a power of 65537, and can be factored (CVE-2017-15361)."""


class JwksKeys:
    """The keys at `url`. `clock` returns monotonic seconds."""

    def __init__(self, url: str, session: aiohttp.ClientSession, clock: Callable[[], float]) -> None:
        self._url = url
        self._session = session
        self._clock = clock
        self._keys: Mapping[str | None, VerificationKey] = {}
        self._fetched_at: float | None = None
        self._requested_at: float | None = None
        self._refresh: asyncio.Task[None] | None = None
        self._is_failing = True
        """Whether the last request failed, or there was none."""

    async def find(self, kid: str | None) -> VerificationKey:
        """Return the key named `kid`, or the only key there is when the token names none."""
        found = self._keys.get(kid)
        if found is None:
            if task := self._start_refresh():
                await asyncio.shield(task)
            found = self._keys.get(kid)
        elif self._clock() - (self._fetched_at or 0.0) > MAX_AGE:
            self._start_refresh()  # in the background: known keys stay in use, through an outage too
        if found:
            return found
        if self._is_failing:
            # The key may be a new one. Only a key set that was just fetched can tell that it is unknown.
            wait = FLOOR - (self._clock() - (self._requested_at or 0.0))
            headers = {"Retry-After": str(max(1, math.ceil(wait)))}
            detail = "the keys of the identity service cannot be had"
            raise ProblemError(ProblemCode.UNAVAILABLE, detail, headers=headers)
        challenge = {"WWW-Authenticate": 'Bearer realm="media", error="invalid_token"'}
        raise ProblemError(ProblemCode.UNAUTHENTICATED, "the token was signed with an unknown key", headers=challenge)

    async def are_known(self) -> bool:
        """Say whether keys were ever fetched, and fetch them if not. Fetched keys stay in use through an outage."""
        if self._fetched_at is None and (task := self._start_refresh()):
            await asyncio.shield(task)
        return self._fetched_at is not None

    async def close(self) -> None:
        if self._refresh and not self._refresh.done():
            self._refresh.cancel()
            await asyncio.gather(self._refresh, return_exceptions=True)

    def _start_refresh(self) -> asyncio.Task[None] | None:
        """Return the request in progress, or a new one. None while FLOOR forbids a new one."""
        if self._refresh and not self._refresh.done():
            return self._refresh
        if self._requested_at is not None and self._clock() - self._requested_at < FLOOR:
            return None
        self._requested_at = self._clock()
        self._refresh = asyncio.create_task(self._fetch())
        return self._refresh

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(DEADLINE), self._session.get(self._url, allow_redirects=False) as response:
                response.raise_for_status()
                text = bytearray()
                async for piece in response.content.iter_any():
                    text += piece
                    if len(text) > SIZE_LIMIT:
                        raise ValueError(f"a JWKS of more than {SIZE_LIMIT} bytes")  # noqa: TRY301 - like what is no JWKS
                keys = parse(bytes(text))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, RecursionError) as error:
            log.warning("jwks.unavailable", url=self._url, error=f"{type(error).__name__}: {error}")
            self._is_failing = True
            return
        self._keys, self._fetched_at, self._is_failing = keys, self._clock(), False


def parse(text: bytes) -> dict[str | None, VerificationKey]:
    """Parse the usable signature keys of a JWKS, by `kid`. A single key is there under None too. Raises ValueError."""
    document = json.loads(text)
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("not a JWKS")  # noqa: TRY004 - the document is wrong
    keys: dict[str | None, VerificationKey] = {}
    for jwk in listed[:KEYS_LIMIT]:
        key = verification_key(jwk) if isinstance(jwk, dict) else None
        kid = jwk.get("kid") if isinstance(jwk, dict) else None
        if key and (kid is None or isinstance(kid, str)):
            keys.setdefault(kid, key)
    if not keys:
        raise ValueError("the JWKS holds no key for RS256 or ES256")
    if len(keys) == 1:
        keys[None] = next(iter(keys.values()))
    else:
        keys.pop(None, None)
    return keys


def verification_key(jwk: Mapping[str, Any]) -> VerificationKey | None:
    """Build the key, with the algorithm that its type fixes. None when it may not verify RS256 or ES256 signatures."""
    algorithm = {"RSA": "RS256", "EC": "ES256"}.get(str(jwk.get("kty")))
    allowed = jwk.get("key_ops", ["verify"])
    usable = jwk.get("use", "sig") == "sig" and isinstance(allowed, list) and "verify" in allowed
    if algorithm is None or not usable or jwk.get("alg", algorithm) != algorithm:
        return None
    try:
        # Only public parts are read, so that a private key published by mistake serves like its public half.
        if algorithm == "RS256":
            rsa = RSAAlgorithm.from_jwk({name: jwk[name] for name in ("kty", "n", "e")})
            is_allowed = isinstance(rsa, RSAPublicKey) and not _is_weak(rsa)
            return VerificationKey(rsa, algorithm) if is_allowed else None
        ec = ECAlgorithm.from_jwk({name: jwk[name] for name in ("kty", "crv", "x", "y")})
        is_allowed = isinstance(ec, EllipticCurvePublicKey) and isinstance(ec.curve, SECP256R1)
        return VerificationKey(ec, algorithm) if is_allowed else None
    except (PyJWTError, ValueError, TypeError, KeyError, OverflowError) as error:
        log.warning("jwks.key_unusable", kid=str(jwk.get("kid")), error=str(error))
        return None


def _is_weak(key: RSAPublicKey) -> bool:
    """Say whether a key is too short, has a small exponent, or comes from Infineon's library."""
    numbers = key.public_numbers()
    if key.key_size < RSA_BITS or numbers.e < RSA_EXPONENT:
        return True
    return all(numbers.n % prime in {pow(65537, power, prime) for power in range(prime)} for prime in ROCA_PRIMES)
