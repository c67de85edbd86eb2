"""Bearer tokens: valid ones, and every known kind of forgery."""

import base64
import json
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm

from api.problems import ProblemCode, ProblemError
from api.security import jwks
from api.security.auth import LEEWAY, Authenticator, Caller, Role, SecretKey, VerificationKey
from tests.unit.api.security.tokens import (
    EC_KEY,
    RSA_KEY,
    SECRET,
    OneKey,
    authenticator,
    b64,
    claims,
    forged,
    jwk_of,
    refusal,
)

CORPUS = Path(__file__).parents[4] / "../shared/corpus/jwt"
RSA_ONLY = OneKey(VerificationKey(RSA_KEY.public_key(), "RS256"))


@pytest.mark.parametrize(
    ("role", "expected"),
    [("service", Role.SERVICE), ("admin", Role.ADMIN), ("root", Role.USER), (None, Role.USER), (["admin"], Role.USER)],
)
async def test_a_good_token_names_its_caller(role: Any, expected: Role) -> None:
    token = jwt.encode(claims(role=role), SECRET, "HS256")
    assert await authenticator().caller(f"Bearer {token}") == Caller("doctor-1", expected)


@pytest.mark.parametrize("header", [None, "", "Basic eDp5", "Bearer", "Bearer ", "bearer\tx", "Bearer a b c"])
async def test_request_without_a_bearer_token_is_refused(header: str | None) -> None:
    with pytest.raises(ProblemError) as raised:
        await authenticator().caller(header)
    assert raised.value.code is ProblemCode.UNAUTHENTICATED
    assert raised.value.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "offsets",
    [
        {"exp": -60},
        {"nbf": 120},
        {"iat": 120},
    ],
)
async def test_token_outside_its_validity_is_refused(offsets: dict[str, int]) -> None:
    changes = {name: int(time.time()) + seconds for name, seconds in offsets.items()}
    assert await refusal(jwt.encode(claims(**changes), SECRET, "HS256")) is ProblemCode.TOKEN_EXPIRED


async def test_small_clock_difference_is_tolerated() -> None:
    token = jwt.encode(claims(exp=int(time.time()) - 10, nbf=int(time.time()) + 10), SECRET, "HS256")
    assert (await authenticator().caller(f"Bearer {token}")).subject == "doctor-1"


async def test_verified_token_is_verified_again_once_it_has_expired() -> None:
    now = [time.time()]
    checked_by = Authenticator(SecretKey(SECRET), None, None, lambda: now[0])
    header = f"Bearer {jwt.encode(claims(), SECRET, 'HS256')}"
    with patch("jwt.decode", wraps=jwt.decode) as decode:
        for _ in range(3):
            await checked_by.caller(header)
        assert decode.call_count == 1
        now[0] += 600 + LEEWAY
        await checked_by.caller(header)
        assert decode.call_count == 2


@pytest.mark.parametrize(
    "payload",
    [
        {"sub": "doctor-1"},
        {"exp": int(time.time()) + 600},
        claims(exp="soon"),
        claims(exp=1e400),
        claims(sub=7),
        claims(nbf="now"),
        claims(exp=10**400),
        claims(nbf=-(10**400)),
        claims(sub="a\0b", role="admin"),
        claims(sub="\ud800", role="service"),
        claims(sub="a" * 257, role="admin"),
    ],
)
async def test_missing_or_malformed_claims_are_refused(payload: dict[str, Any]) -> None:
    assert await refusal(forged({"alg": "HS256"}, payload, SECRET.encode()))


@pytest.mark.parametrize("wrong", [{"iss": "other"}, {"aud": "other"}, {"iss": None}, {"aud": ["a", "b"]}])
async def test_issuer_and_audience_must_be_ours(wrong: dict[str, Any]) -> None:
    checked_by = authenticator(issuer="identity", audience="media")
    good = claims(iss="identity", aud=["media", "posts"])
    assert (await checked_by.caller(f"Bearer {jwt.encode(good, SECRET, 'HS256')}")).subject == "doctor-1"
    bad = {name: value for name, value in (good | wrong).items() if value is not None}
    assert await refusal(jwt.encode(bad, SECRET, "HS256"), checked_by) is ProblemCode.UNAUTHENTICATED


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "HS384", "RS256", None, 7])
async def test_the_token_does_not_choose_its_algorithm(algorithm: Any) -> None:
    assert await refusal(forged({"alg": algorithm, "typ": "JWT"}, claims(), SECRET.encode()))
    assert await refusal(forged({"alg": algorithm, "typ": "JWT"}, claims()))


async def test_public_key_is_not_accepted_as_hmac_secret() -> None:
    for form in (PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1):
        pem = RSA_KEY.public_key().public_bytes(Encoding.PEM, form)
        assert await refusal(forged({"alg": "HS256"}, claims(), pem), authenticator(RSA_ONLY))


async def test_embedded_key_is_ignored() -> None:
    own = rsa.generate_private_key(65537, 2048)
    header = {"jwk": RSAAlgorithm.to_jwk(own.public_key(), as_dict=True), "jku": "http://evil.example/keys"}
    token = jwt.encode(claims(), own, "RS256", headers=header)
    assert await refusal(token, authenticator(RSA_ONLY)) is ProblemCode.UNAUTHENTICATED


@pytest.mark.parametrize("kid", ["../../dev/null", "' OR 1=1 --", "x" * 4000, 7, ["a"], {"a": 1}])
async def test_malformed_kid_is_refused(kid: Any) -> None:
    keys = jwks.parse(json.dumps({"keys": [jwk_of(RSA_KEY, "a"), jwk_of(EC_KEY, "b")]}).encode())

    class Fixed:
        async def are_known(self) -> bool:
            return True

        async def find(self, kid: str | None) -> VerificationKey:
            if kid not in keys:
                raise ProblemError(ProblemCode.UNAUTHENTICATED)
            return keys[kid]

    assert await refusal(forged({"alg": "RS256", "kid": kid}, claims(), b"x"), authenticator(Fixed()))


async def test_critical_extensions_are_refused() -> None:
    token = jwt.encode(claims(), SECRET, "HS256", headers={"crit": ["exp"]})
    assert await refusal(token) is ProblemCode.UNAUTHENTICATED


async def test_malformed_tokens_are_refused() -> None:
    for token in ("a.b.c", "..", "x" * 9000, "é.é.é", "eyJhbGciOiJIUzI1NiJ9." * 3, "{}", b64(b"[]") + ".e30.x"):
        assert await refusal(token) is ProblemCode.UNAUTHENTICATED


async def test_token_has_one_spelling() -> None:
    token = jwt.encode(claims(), SECRET, "HS256")
    header, payload, signature = token.split(".")
    assert (await authenticator().caller(f"Bearer {token}")).subject == "doctor-1"
    stray = signature[:-1] + chr(ord(signature[-1]) + 1)  # 32 bytes leave two bits, which count for nothing
    assert base64.urlsafe_b64decode(stray + "=") == base64.urlsafe_b64decode(signature + "=")
    for other in (
        f"{token}=",
        f"{header}.{payload}.{stray}",
        f"{header}.{payload}.{signature[:9]}!{signature[9:]}",
        f"{header}=.{payload}.{signature}",
        f"{header}.{payload}.{signature}.",
        token.replace(".", ".\n", 1),
    ):
        assert await refusal(other) is ProblemCode.UNAUTHENTICATED


def corpus(name: str) -> Any:
    path = CORPUS / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return json.loads(path.read_text())


async def test_example_tokens_of_rfc_7515_are_refused() -> None:
    """Their signatures are valid, but they expired in 2011, hold no claims, or are not signed."""
    for vector in corpus("rfc7515_appendix_a.json")["vectors"]:
        jwk = vector["public_jwk"] or vector["jwk"] or {}
        secret = base64.urlsafe_b64decode(jwk["k"] + "==") if "k" in jwk else SECRET.encode()
        key = jwks.verification_key(jwk) or VerificationKey(secret, "HS256")
        assert await refusal(vector["compact"], authenticator(OneKey(key)))


async def test_wycheproofs_forgeries_are_refused() -> None:
    """Its valid ones sign `foo`, which holds no claims, so all of them are refused."""
    seen = 0
    for group in corpus("wycheproof_json_web_crypto_test.json")["testGroups"]:
        jwk = group.get("public", group["private"])
        for one in jwk.get("keys", [jwk]) if isinstance(jwk, dict) else []:
            secret = base64.urlsafe_b64decode(one["k"] + "==") if "k" in one else SECRET.encode()
            key = jwks.verification_key(one) or VerificationKey(secret, "HS256")
            for test in group["tests"]:
                if test["comment"] == "rejectsKeyWithRocaVulnerability":
                    assert jwks.verification_key(one) is None
                token = test.get("jws") or test.get("jwe")
                assert await refusal(token if isinstance(token, str) else json.dumps(token), authenticator(OneKey(key)))
                seen += 1
    assert seen > 80
