"""What a task finds beside itself: keys of the identity service, a mirror of signatures, its role's credentials."""

import json
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from deploy.local.clamav import TEST_SIGNATURES
from deploy.local.ports import HOST
from deploy.local.rehearsal.account import Account
from deploy.local.rehearsal.certificates import Certificate

AUDIENCE = "media"
KEY_ID = "rehearsal"
LIFETIME = 3600


class Identity:
    """An identity service: signs tokens, and publishes the key by which they are checked."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.issuer = ""

    def token(self, user: str, role: str = "user") -> str:
        """Return a bearer token."""
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": AUDIENCE, "sub": user, "role": role, "iat": now, "exp": now + LIFETIME}
        return jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": KEY_ID})

    @asynccontextmanager
    async def serve(self, certificate: Certificate) -> AsyncIterator[str]:
        """Publish the key by https; yield its URL."""
        public = json.loads(ECAlgorithm.to_jwk(self._key.public_key()))
        keys = {"keys": [public | {"kid": KEY_ID, "use": "sig", "alg": "ES256"}]}

        async def publish(_: web.Request) -> web.Response:
            return web.json_response(keys)

        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate.certificate, certificate.key)
        async with _serving({"/jwks.json": publish}, context) as port:
            self.issuer = f"https://{HOST}:{port}"
            yield f"{self.issuer}/jwks.json"


@asynccontextmanager
async def role_credentials(account: Account, roles: Mapping[str, str]) -> AsyncIterator[str]:
    """Offer the credentials of `roles` (ARNs by name); yield the URL before the name."""

    async def credentials(request: web.Request) -> web.Response:
        role = roles[request.match_info["name"]]
        found = await account.credentials(role)
        expires: datetime = found["Expiration"]
        return web.json_response(
            {
                "RoleArn": role,
                "AccessKeyId": found["AccessKeyId"],
                "SecretAccessKey": found["SecretAccessKey"],
                "Token": found["SessionToken"],
                "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        )

    async with _serving({"/{name}": credentials}, None) as port:
        yield f"http://{HOST}:{port}"


@asynccontextmanager
async def private_mirror() -> AsyncIterator[str]:
    """Offer a database that finds EICAR; yield its address."""
    name = "eicar.ndb"

    async def database(_: web.Request) -> web.Response:
        return web.Response(text=TEST_SIGNATURES[name])

    async with _serving({f"/{name}": database}, None) as port:
        yield f"http://{HOST}:{port}/{name}"


@asynccontextmanager
async def _serving(routes: Mapping[str, Any], context: ssl.SSLContext | None) -> AsyncIterator[int]:
    """Serve GET requests on a free port; yield the port."""
    application = web.Application()
    application.add_routes([web.get(path, handler) for path, handler in routes.items()])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, 0, ssl_context=context)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
