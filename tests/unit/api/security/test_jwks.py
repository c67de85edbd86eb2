"""Published keys: which are used, when they are fetched, and what happens when they cannot be."""

import asyncio
import math
from typing import Any

import jwt
import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from api.problems import ProblemCode, ProblemError
from api.security import jwks
from api.security.jwks import FLOOR, MAX_AGE, JwksKeys
from tests.unit.api.security.tokens import EC_KEY, RSA_KEY, SECRET, authenticator, b64, claims, jwk_of, refusal


def infineons_key() -> dict[str, Any]:
    """A key of the form that CVE-2017-15361 describes. Its modulus is no product of two primes, which nobody checks."""
    primorial = math.prod(n for n in range(2, 168) if all(n % smaller for smaller in range(2, n)))
    modulus = (1 << 2047) // primorial * primorial + pow(65537, 4711, primorial)
    return jwk_of(RSA_KEY, "a", n=b64((modulus + primorial).to_bytes(256, "big")))


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "oct", "k": b64(SECRET.encode()), "kid": "a"},
        jwk_of(RSA_KEY, "a", use="enc"),
        jwk_of(RSA_KEY, "a", alg="PS256"),
        jwk_of(RSA_KEY, "a", key_ops=["encrypt"]),
        jwk_of(RSA_KEY, "a", key_ops=None),
        jwk_of(RSA_KEY, "a", key_ops=5),
        jwk_of(rsa.generate_private_key(65537, 1024), "a"),  # noqa: S505 - it must be refused
        jwk_of(rsa.generate_private_key(3, 2048), "a"),
        infineons_key(),
        jwk_of(ec.generate_private_key(ec.SECP384R1()), "a"),
        jwk_of(EC_KEY, "a", x="AAAA"),
        {"kty": "RSA", "kid": "a"},
        {},
    ],
)
def test_keys_for_other_purposes_are_not_used(jwk: dict[str, Any]) -> None:
    assert jwks.verification_key(jwk) is None


class IdentityService:
    """Publish keys over HTTP, and count the requests. It can be unavailable."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.requests = 0
        self.is_away = False
        self.text: bytes | None = None

    async def answer(self, _request: web.Request) -> web.Response:
        self.requests += 1
        if self.is_away:
            raise web.HTTPServiceUnavailable
        if self.text is not None:
            return web.Response(body=self.text, content_type="application/json")
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
async def test_tokens_signed_with_published_keys_are_accepted(identity: Any, key: Any, algorithm: str) -> None:
    service, keys, _ = identity
    service.keys = [jwk_of(RSA_KEY, "r"), jwk_of(EC_KEY, "e")]
    checked_by = authenticator(keys)
    token = jwt.encode(claims(), key, algorithm, headers={"kid": algorithm[0].lower()})
    for _ in range(3):
        assert (await checked_by.caller(f"Bearer {token}")).subject == "doctor-1"
    assert service.requests == 1
    wrong = jwt.encode(claims(), key, algorithm, headers={"kid": "e" if algorithm == "RS256" else "r"})
    assert await refusal(wrong, checked_by) is ProblemCode.UNAUTHENTICATED


async def test_unknown_kid_fetches_the_keys_again_but_not_often(identity: Any) -> None:
    service, keys, now = identity
    service.keys = [jwk_of(RSA_KEY, "old")]
    checked_by = authenticator(keys)
    token = jwt.encode(claims(), EC_KEY, "ES256", headers={"kid": "new"})
    assert await refusal(token, checked_by) is ProblemCode.UNAUTHENTICATED
    service.keys = [jwk_of(EC_KEY, "new")]
    for _ in range(5):
        assert await refusal(token, checked_by) is ProblemCode.UNAUTHENTICATED
    assert service.requests == 1
    now[0] += FLOOR + 1
    answers = await asyncio.gather(*(checked_by.caller(f"Bearer {token}") for _ in range(5)))
    assert len(answers) == 5
    assert service.requests == 2


async def test_known_keys_stay_in_use_through_an_outage(identity: Any) -> None:
    service, keys, now = identity
    service.keys = [jwk_of(RSA_KEY, "a")]
    checked_by = authenticator(keys)
    token = jwt.encode(claims(), RSA_KEY, "RS256", headers={"kid": "a"})
    assert (await checked_by.caller(f"Bearer {token}")).subject == "doctor-1"
    service.is_away = True
    now[0] += MAX_AGE + 1
    for _ in range(3):
        assert (await checked_by.caller(f"Bearer {token}")).subject == "doctor-1"


async def test_without_any_keys_the_api_is_unavailable(identity: Any) -> None:
    service, keys, _ = identity
    service.is_away = True
    token = jwt.encode(claims(), RSA_KEY, "RS256", headers={"kid": "a"})
    with pytest.raises(ProblemError) as refused:
        await authenticator(keys).caller(f"Bearer {token}")
    assert refused.value.code is ProblemCode.UNAVAILABLE
    assert refused.value.headers["Retry-After"] == str(int(FLOOR))


async def test_unknown_key_during_an_outage_is_no_fault_of_its_token(identity: Any) -> None:
    service, keys, now = identity
    service.keys = [jwk_of(RSA_KEY, "old")]
    checked_by = authenticator(keys)
    await checked_by.caller(f"Bearer {jwt.encode(claims(), RSA_KEY, 'RS256', headers={'kid': 'old'})}")
    token = jwt.encode(claims(), EC_KEY, "ES256", headers={"kid": "new"})
    assert await refusal(token, checked_by) is ProblemCode.UNAUTHENTICATED, "the keys were fetched a moment ago"
    service.is_away = True
    now[0] += FLOOR
    assert await refusal(token, checked_by) is ProblemCode.UNAVAILABLE
    now[0] += FLOOR - 4
    with pytest.raises(ProblemError) as refused:
        await checked_by.caller(f"Bearer {token}")
    assert (refused.value.code, refused.value.headers["Retry-After"]) == (ProblemCode.UNAVAILABLE, "4")
    service.is_away = False
    now[0] += 4
    assert await refusal(token, checked_by) is ProblemCode.UNAUTHENTICATED
    service.keys = [jwk_of(EC_KEY, "new")]
    now[0] += FLOOR
    assert (await checked_by.caller(f"Bearer {token}")).subject == "doctor-1"


async def test_keys_are_known_once_they_were_fetched(identity: Any) -> None:
    service, keys, now = identity
    service.is_away = True
    checked_by = authenticator(keys)
    assert not await checked_by.has_keys()
    service.keys, service.is_away = [jwk_of(RSA_KEY, "a")], False
    assert not await checked_by.has_keys(), "fetched again too soon"
    now[0] += FLOOR
    assert await checked_by.has_keys()
    service.is_away = True
    now[0] += MAX_AGE + 1
    assert await checked_by.has_keys()
    assert service.requests == 2


async def test_withdrawn_key_is_no_longer_accepted(identity: Any) -> None:
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


@pytest.mark.parametrize("text", [b"[" * 100_000, b"{}", b"not JSON", b'{"keys": 5}'])
async def test_malformed_key_set_keeps_the_known_keys(identity: Any, text: bytes) -> None:
    service, keys, now = identity
    service.keys = [jwk_of(RSA_KEY, "r")]
    checked_by = authenticator(keys)
    good = jwt.encode(claims(), RSA_KEY, "RS256", headers={"kid": "r"})
    await checked_by.caller(f"Bearer {good}")
    service.text, now[0] = text, now[0] + FLOOR
    unknown = jwt.encode(claims(), RSA_KEY, "RS256", headers={"kid": "x"})
    assert await refusal(unknown, checked_by) is ProblemCode.UNAVAILABLE
    assert (await checked_by.caller(f"Bearer {good}")).subject == "doctor-1"


async def test_unusable_key_does_not_affect_the_others(identity: Any) -> None:
    service, keys, _ = identity
    service.keys = [jwk_of(EC_KEY, "odd", key_ops=None), jwk_of(RSA_KEY, "r"), 5, None]
    token = jwt.encode(claims(), RSA_KEY, "RS256", headers={"kid": "r"})
    assert (await authenticator(keys).caller(f"Bearer {token}")).subject == "doctor-1"
