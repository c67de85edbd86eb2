"""Public keys by JWKS: cached, asked for again when a `kid` is unknown (but not often), kept through an outage."""

import asyncio
import json
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
"""Seconds after which the keys are asked for again, so that a withdrawn key stops being accepted."""
FLOOR = 10.0
"""Seconds between two requests at least: tokens with made-up `kid`s must not become a load on the identity service."""
DEADLINE = 5.0
SIZE_LIMIT = 256 * 1024
KEYS_LIMIT = 100
RSA_BITS = 2048


class JwksKeys:
    """The keys at `url`. `clock` gives seconds that only grow."""

    def __init__(self, url: str, session: aiohttp.ClientSession, clock: Callable[[], float]) -> None:
        self._url = url
        self._session = session
        self._clock = clock
        self._keys: Mapping[str | None, VerificationKey] = {}
        self._fetched: float | None = None
        self._asked: float | None = None
        self._asking: asyncio.Task[None] | None = None

    async def find(self, kid: str | None) -> VerificationKey:
        """The key named `kid`, or the only key there is when the token names none."""
        found = self._keys.get(kid)
        if found is None:
            if task := self._start_refresh():
                await asyncio.shield(task)
            found = self._keys.get(kid)
        elif self._clock() - (self._fetched or 0.0) > MAX_AGE:
            self._start_refresh()  # In the background: what is known serves on, through an outage too.
        if found:
            return found
        if self._fetched is None:
            raise ProblemError(ProblemCode.UNAVAILABLE, "the keys of the identity service cannot be had")
        challenge = {"WWW-Authenticate": 'Bearer realm="media", error="invalid_token"'}
        raise ProblemError(ProblemCode.UNAUTHENTICATED, "the token was signed with an unknown key", headers=challenge)

    async def are_known(self) -> bool:
        """Whether a key set was ever had; what was, serves through an outage."""
        if self._fetched is None and (task := self._start_refresh()):
            await asyncio.shield(task)
        return self._fetched is not None

    async def close(self) -> None:
        if self._asking and not self._asking.done():
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    def _start_refresh(self) -> asyncio.Task[None] | None:
        """The request under way, or a new one; None while the floor forbids it."""
        if self._asking and not self._asking.done():
            return self._asking
        if self._asked is not None and self._clock() - self._asked < FLOOR:
            return None
        self._asked = self._clock()
        self._asking = asyncio.create_task(self._fetch())
        return self._asking

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(DEADLINE), self._session.get(self._url, allow_redirects=False) as answer:
                answer.raise_for_status()
                text = bytearray()
                async for piece in answer.content.iter_any():
                    text += piece
                    if len(text) > SIZE_LIMIT:
                        raise ValueError(f"a JWKS of more than {SIZE_LIMIT} bytes")  # noqa: TRY301 - like what is no JWKS
                keys = parse(bytes(text))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, RecursionError) as error:
            log.warning("jwks.unavailable", url=self._url, error=f"{type(error).__name__}: {error}")
            return
        self._keys, self._fetched = keys, self._clock()


def parse(text: bytes) -> dict[str | None, VerificationKey]:
    """The usable signature keys of a JWKS by `kid`; a single one is known as None too. Raises ValueError."""
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
    """The key with the algorithm that its type fixes; None when it may not verify RS256 or ES256 signatures."""
    algorithm = {"RSA": "RS256", "EC": "ES256"}.get(str(jwk.get("kty")))
    allowed = jwk.get("key_ops", ["verify"])
    usable = jwk.get("use", "sig") == "sig" and isinstance(allowed, list) and "verify" in allowed
    if algorithm is None or not usable or jwk.get("alg", algorithm) != algorithm:
        return None
    try:
        key = _public_key(algorithm, jwk)
    except (PyJWTError, ValueError, TypeError, KeyError, OverflowError) as error:
        log.warning("jwks.key_unusable", kid=str(jwk.get("kid")), error=str(error))
        return None
    return VerificationKey(key, algorithm) if key else None


def _public_key(algorithm: str, jwk: Mapping[str, Any]) -> RSAPublicKey | EllipticCurvePublicKey | None:
    """Only what is public is read, so that a private key published by mistake serves like its public half."""
    if algorithm == "RS256":
        rsa = RSAAlgorithm.from_jwk({name: jwk[name] for name in ("kty", "n", "e")})
        return rsa if isinstance(rsa, RSAPublicKey) and rsa.key_size >= RSA_BITS else None
    ec = ECAlgorithm.from_jwk({name: jwk[name] for name in ("kty", "crv", "x", "y")})
    return ec if isinstance(ec, EllipticCurvePublicKey) and isinstance(ec.curve, SECP256R1) else None
