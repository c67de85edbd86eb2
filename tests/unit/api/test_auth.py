"""Tokens: the ones to believe, and every forgery that is known."""

import asyncio
import base64
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from api import jwks
from api.auth import Authenticator, Caller, Keys, Role, SecretKey, VerificationKey
from api.jwks import FLOOR, MAX_AGE, JwksKeys
from api.problems import ProblemCode, ProblemError

SECRET = "a secret of the tests that has 32 bytes or more"
CORPUS = Path(__file__).parents[3] / "../shared/corpus/jwt"
RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def claims(**changes: Any) -> dict[str, Any]:
    return {"sub": "doctor-1", "exp": int(time.time()) + 600} | changes


def authenticator(keys: Keys | None = None, issuer: str | None = None, audience: str | None = None) -> Authenticator:
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

    async def find(self, _kid: str | None) -> VerificationKey:
        return self._key


RSA_ONLY = OneKey(VerificationKey(RSA_KEY.public_key(), "RS256"))


@pytest.mark.parametrize(
    ("role", "expected"),
    [("service", Role.SERVICE), ("admin", Role.ADMIN), ("root", Role.USER), (None, Role.USER), (["admin"], Role.USER)],
)
async def test_a_good_token_names_its_caller(role: Any, expected: Role) -> None:
    token = jwt.encode(claims(role=role), SECRET, "HS256")
    assert await authenticator().caller(f"Bearer {token}") == Caller("doctor-1", expected)


@pytest.mark.parametrize("header", [None, "", "Basic eDp5", "Bearer", "Bearer ", "bearer\tx", "Bearer a b c"])
async def test_without_a_token_nobody_is_known(header: str | None) -> None:
    with pytest.raises(ProblemError) as raised:
        await authenticator().caller(header)
    assert raised.value.code is ProblemCode.UNAUTHENTICATED
    assert raised.value.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": int(time.time()) - 60},
        {"nbf": int(time.time()) + 120},
        {"iat": int(time.time()) + 120},
    ],
)
async def test_outside_its_time_a_token_is_refused(changes: dict[str, Any]) -> None:
    assert await refusal(jwt.encode(claims(**changes), SECRET, "HS256")) is ProblemCode.TOKEN_EXPIRED


async def test_clocks_may_differ_a_little() -> None:
    token = jwt.encode(claims(exp=int(time.time()) - 10, nbf=int(time.time()) + 10), SECRET, "HS256")
    assert (await authenticator().caller(f"Bearer {token}")).subject == "doctor-1"


async def test_a_token_that_was_believed_ends_all_the_same() -> None:
    now = [time.time()]
    checked_by = Authenticator(SecretKey(SECRET), None, None, lambda: now[0])
    token = jwt.encode(claims(exp=int(now[0]) - 20), SECRET, "HS256")
    assert (await checked_by.caller(f"Bearer {token}")).subject == "doctor-1"
    now[0] += 60
    assert await refusal(jwt.encode(claims(exp=int(time.time()) - 31), SECRET, "HS256"), checked_by)


@pytest.mark.parametrize(
    "payload",
    [
        {"sub": "doctor-1"},
        {"exp": int(time.time()) + 600},
        claims(exp="soon"),
        claims(exp=1e400),
        claims(sub=7),
        claims(nbf="now"),
    ],
)
async def test_claims_that_are_missing_or_odd_are_refused(payload: dict[str, Any]) -> None:
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


async def test_a_public_key_is_no_secret() -> None:
    for form in (PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1):
        pem = RSA_KEY.public_key().public_bytes(Encoding.PEM, form)
        assert await refusal(forged({"alg": "HS256"}, claims(), pem), authenticator(RSA_ONLY))


async def test_an_embedded_key_is_not_looked_at() -> None:
    own = rsa.generate_private_key(65537, 2048)
    header = {"jwk": RSAAlgorithm.to_jwk(own.public_key(), as_dict=True), "jku": "http://evil.example/keys"}
    token = jwt.encode(claims(), own, "RS256", headers=header)
    assert await refusal(token, authenticator(RSA_ONLY)) is ProblemCode.UNAUTHENTICATED


@pytest.mark.parametrize("kid", ["../../dev/null", "' OR 1=1 --", "x" * 4000, 7, ["a"], {"a": 1}])
async def test_a_kid_is_only_looked_up(kid: Any) -> None:
    keys = jwks.parse(json.dumps({"keys": [jwk_of(RSA_KEY, "a"), jwk_of(EC_KEY, "b")]}).encode())

    class Fixed:
        async def find(self, kid: str | None) -> VerificationKey:
            if kid not in keys:
                raise ProblemError(ProblemCode.UNAUTHENTICATED)
            return keys[kid]

    assert await refusal(forged({"alg": "RS256", "kid": kid}, claims(), b"x"), authenticator(Fixed()))


async def test_demanded_extensions_are_refused() -> None:
    token = jwt.encode(claims(), SECRET, "HS256", headers={"crit": ["exp"]})
    assert await refusal(token) is ProblemCode.UNAUTHENTICATED


async def test_rubbish_is_refused() -> None:
    for token in ("a.b.c", "..", "x" * 9000, "é.é.é", "eyJhbGciOiJIUzI1NiJ9." * 3, "{}", b64(b"[]") + ".e30.x"):
        assert await refusal(token) is ProblemCode.UNAUTHENTICATED


def corpus(name: str) -> Any:
    path = CORPUS / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return json.loads(path.read_text())


async def test_the_rfcs_examples_are_all_refused() -> None:
    """Their signatures are right, but they ended in 2011, hold no claims, or are not signed."""
    for vector in corpus("rfc7515_appendix_a.json")["vectors"]:
        jwk = vector["public_jwk"] or vector["jwk"] or {}
        secret = base64.urlsafe_b64decode(jwk["k"] + "==") if "k" in jwk else SECRET.encode()
        key = jwks.verification_key(jwk) or VerificationKey(secret, "HS256")
        assert await refusal(vector["compact"], authenticator(OneKey(key)))


async def test_wycheproofs_forgeries_are_refused() -> None:
    """Its valid ones sign `foo`, which holds no claims; so none of them opens the door."""
    seen = 0
    for group in corpus("wycheproof_json_web_crypto_test.json")["testGroups"]:
        jwk = group.get("public", group["private"])
        for one in jwk.get("keys", [jwk]) if isinstance(jwk, dict) else []:
            secret = base64.urlsafe_b64decode(one["k"] + "==") if "k" in one else SECRET.encode()
            key = jwks.verification_key(one) or VerificationKey(secret, "HS256")
            for test in group["tests"]:
                token = test.get("jws") or test.get("jwe")
                assert await refusal(token if isinstance(token, str) else json.dumps(token), authenticator(OneKey(key)))
                seen += 1
    assert seen > 80


def jwk_of(key: Any, kid: str, **changes: Any) -> dict[str, Any]:
    algorithm: Any = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, **changes}


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "oct", "k": b64(SECRET.encode()), "kid": "a"},
        jwk_of(RSA_KEY, "a", use="enc"),
        jwk_of(RSA_KEY, "a", alg="PS256"),
        jwk_of(RSA_KEY, "a", key_ops=["encrypt"]),
        jwk_of(rsa.generate_private_key(65537, 1024), "a"),  # noqa: S505 - it must be refused
        jwk_of(ec.generate_private_key(ec.SECP384R1()), "a"),
        jwk_of(EC_KEY, "a", x="AAAA"),
        {"kty": "RSA", "kid": "a"},
        {},
    ],
)
def test_keys_for_other_purposes_are_not_used(jwk: dict[str, Any]) -> None:
    assert jwks.verification_key(jwk) is None


class IdentityService:
    """Publishes keys over HTTP, counts who asks, and can be away."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.asked = 0
        self.away = False

    async def answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        if self.away:
            raise web.HTTPServiceUnavailable
        return web.json_response({"keys": self.keys})


@pytest.fixture
async def identity() -> Any:
    service = IdentityService()
    app = web.Application()
    app.router.add_get("/keys", service.answer)
    async with TestServer(app) as server, ClientSession() as session:
        now = [1000.0]
        keys = JwksKeys(str(server.make_url("/keys")), session, lambda: now[0])
        yield service, keys, now
        await keys.close()


@pytest.mark.parametrize(("key", "algorithm"), [(RSA_KEY, "RS256"), (EC_KEY, "ES256")])
async def test_published_keys_are_believed(identity: Any, key: Any, algorithm: str) -> None:
    service, keys, _ = identity
    service.keys = [jwk_of(RSA_KEY, "r"), jwk_of(EC_KEY, "e")]
    checked_by = authenticator(keys)
    token = jwt.encode(claims(), key, algorithm, headers={"kid": algorithm[0].lower()})
    for _ in range(3):
        assert (await checked_by.caller(f"Bearer {token}")).subject == "doctor-1"
    assert service.asked == 1
    wrong = jwt.encode(claims(), key, algorithm, headers={"kid": "e" if algorithm == "RS256" else "r"})
    assert await refusal(wrong, checked_by) is ProblemCode.UNAUTHENTICATED


async def test_unknown_kids_are_asked_for_but_not_often(identity: Any) -> None:
    service, keys, now = identity
    service.keys = [jwk_of(RSA_KEY, "old")]
    checked_by = authenticator(keys)
    token = jwt.encode(claims(), EC_KEY, "ES256", headers={"kid": "new"})
    assert await refusal(token, checked_by) is ProblemCode.UNAUTHENTICATED
    service.keys = [jwk_of(EC_KEY, "new")]
    for _ in range(5):
        assert await refusal(token, checked_by) is ProblemCode.UNAUTHENTICATED
    assert service.asked == 1
    now[0] += FLOOR + 1
    answers = await asyncio.gather(*(checked_by.caller(f"Bearer {token}") for _ in range(5)))
    assert len(answers) == 5
    assert service.asked == 2


async def test_known_keys_serve_through_an_outage(identity: Any) -> None:
    service, keys, now = identity
    service.keys = [jwk_of(RSA_KEY, "a")]
    checked_by = authenticator(keys)
    token = jwt.encode(claims(), RSA_KEY, "RS256", headers={"kid": "a"})
    assert (await checked_by.caller(f"Bearer {token}")).subject == "doctor-1"
    service.away = True
    now[0] += MAX_AGE + 1
    for _ in range(3):
        assert (await checked_by.caller(f"Bearer {token}")).subject == "doctor-1"


async def test_without_any_key_the_service_says_that_it_is_not_the_tokens_fault(identity: Any) -> None:
    service, keys, _ = identity
    service.away = True
    token = jwt.encode(claims(), RSA_KEY, "RS256", headers={"kid": "a"})
    assert await refusal(token, authenticator(keys)) is ProblemCode.UNAVAILABLE


async def test_a_withdrawn_key_opens_nothing(identity: Any) -> None:
    service, keys, now = identity
    service.keys = [jwk_of(RSA_KEY, "a")]
    checked_by = authenticator(keys)
    token = jwt.encode(claims(), RSA_KEY, "RS256", headers={"kid": "a"})
    assert (await checked_by.caller(f"Bearer {token}")).subject == "doctor-1"
    service.keys = [jwk_of(EC_KEY, "b")]
    now[0] += MAX_AGE + 1
    await checked_by.caller(f"Bearer {token}")  # starts the refresh
    assert (
        await checked_by.caller(f"Bearer {jwt.encode(claims(), EC_KEY, 'ES256', headers={'kid': 'b'})}")
    ).subject == "doctor-1"
    assert await refusal(token, checked_by) is ProblemCode.UNAUTHENTICATED
