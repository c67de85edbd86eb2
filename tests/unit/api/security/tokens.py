"""Valid and forged tokens, and the keys to make them with."""

import base64
import hmac
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from api.problems import ProblemCode, ProblemError
from api.security.auth import Authenticator, KeySet, SecretKey, VerificationKey

SECRET = "a secret of the tests that has 32 bytes or more"
RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def claims(**changes: Any) -> dict[str, Any]:
    return {"sub": "doctor-1", "exp": int(time.time()) + 600} | changes


def authenticator(keys: KeySet | None = None, issuer: str | None = None, audience: str | None = None) -> Authenticator:
    return Authenticator(keys or SecretKey(SECRET), issuer, audience, time.time)


async def refusal(token: str, checked_by: Authenticator | None = None) -> ProblemCode:
    with pytest.raises(ProblemError) as raised:
        await (checked_by or authenticator()).caller(f"Bearer {token}")
    assert raised.value.status in {401, 403, 503}
    return raised.value.code


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(header: dict[str, Any], payload: dict[str, Any], key: bytes = b"") -> str:
    text = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(payload).encode())}"
    return f"{text}.{b64(hmac.digest(key, text.encode(), 'sha256')) if key else ''}"


class OneKey:
    def __init__(self, key: VerificationKey) -> None:
        self._key = key

    async def are_known(self) -> bool:
        return True

    async def find(self, _kid: str | None) -> VerificationKey:
        return self._key


def jwk_of(key: Any, kid: str, **changes: Any) -> dict[str, Any]:
    algorithm: Any = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, **changes}
