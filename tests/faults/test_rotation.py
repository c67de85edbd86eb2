"""Every secret is rotated by the runbook's steps, while requests go on: none fails."""

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import aiohttp
import asyncpg
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from api.security.callback_signature import sign
from deploy.local import postgres as postgres_part
from deploy.local import tokens
from deploy.local.postgres import Postgres
from media.schema import apply as schema
from media.schema import roles
from tests.faults.load_balancer import (
    LoadBalancer,
    load_balancer,
    replace_api,
    replace_consumer,
    upload_clients,
    wait_until_ready,
)
from tests.faults.proxied_services import JWT_SECRET, Daemon, ProxiedServices
from tests.faults.sample_uploads import JPEG, PDF, wait_until_all_ended
from tests.integration.operate.documentation import ROOT, blocks, run_command

RUNBOOK = ROOT / "docs" / "runbook.md"
OLD, NEW = "the old secret, of 32 bytes or more", "the new secret, of 32 bytes or more"
PAUSE = 0.02
NO_DELAY = {"MEDIA_API_DRAIN_DELAY": "1"}


def steps(setting: str) -> list[str]:
    """Return the values that the runbook gives a setting, one step after the other, with our secrets in them."""
    [block] = [block for block in blocks(RUNBOOK, "text") if setting in block]
    found = re.findall(rf"(?m)^{setting}: (.*)$", block)
    assert len(found) >= 3
    return [json.loads(value).replace("OLD", OLD).replace("NEW", NEW) for value in found]


@asynccontextmanager
async def asking(ask: Callable[[], Awaitable[None]]) -> AsyncIterator[list[int]]:
    """Ask without pause until the end of the block; a failure ends the test. Yields a list with one item a request."""
    asked: list[int] = []
    over = asyncio.Event()

    async def repeat() -> None:
        while not over.is_set():
            await ask()
            asked.append(1)
            await asyncio.sleep(PAUSE)

    async with asyncio.TaskGroup() as group:
        group.create_task(repeat())
        yield asked
        over.set()
    assert len(asked) > 10


@asynccontextmanager
async def two_apis(services: ProxiedServices, **settings: str) -> AsyncIterator[tuple[LoadBalancer, list[Daemon]]]:
    """Run two APIs behind a balancer. Every API that is added to the list is killed at the end."""
    daemons = [services.api(**NO_DELAY, **settings), services.api(**NO_DELAY, **settings)]
    try:
        await asyncio.gather(*(daemon.start() for daemon in daemons))
        await asyncio.gather(*map(wait_until_ready, daemons))
        async with load_balancer(*daemons) as balancer:
            await asyncio.gather(*map(balancer.check, balancer.targets))
            yield balancer, daemons
    finally:
        await asyncio.gather(*(daemon.kill() for daemon in daemons))


async def replace_both(
    services: ProxiedServices, balancer: LoadBalancer, daemons: list[Daemon], **settings: str
) -> None:
    for _ in range(2):
        daemons.append(services.api(**NO_DELAY, **settings))
        await replace_api(balancer, daemons[-1])


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        session._retry_connection = False  # a request that is lost must be noticed
        yield session


def signed(secret: str, body: bytes) -> dict[str, str]:
    return {"X-Media-Signature": sign(secret, body, int(time.time())), "Content-Type": "application/json"}


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens.mint(secret, user='dr-house', role='service')}"}


@pytest.mark.timeout(240)
async def test_callback_and_jwt_secrets(services: ProxiedServices, http: aiohttp.ClientSession) -> None:
    """Each is rotated by steps of its own, which are taken at the same time here. The second has one less."""
    callback, jwt = steps("MEDIA_CALLBACK_SECRET"), steps("MEDIA_JWT_SECRET")
    first, *others = [
        {"MEDIA_CALLBACK_SECRET": one, "MEDIA_JWT_SECRET": other}
        for one, other in zip(callback, [*jwt, jwt[-1]], strict=True)
    ]
    secret = [OLD]
    async with two_apis(services, **first) as (balancer, daemons):

        async def ask() -> None:
            """Send a callback, and use a ticket that another API may have made."""
            body = json.dumps({"asset_id": str(uuid4()), "job_id": "j", "attempt": 1, "status": "PROGRESSING"}).encode()
            headers = signed(secret[0], body)
            url = f"{balancer.next()}/api/v1/internal/media/callback/transcode"
            async with http.post(url, data=body, headers=headers) as answer:
                assert (answer.status, (await answer.json())["code"]) == (404, "not_found"), "verified, and unknown"
            made = f"{balancer.next()}/api/v1/media/events/ticket"
            async with http.post(made, headers=bearer(secret[0]), raise_for_status=True) as answer:
                ticket = (await answer.json())["ticket"]
            watched = f"{balancer.next()}/api/v1/media/assets/{uuid4()}/events?ticket={ticket}"
            async with http.get(watched) as answer:
                assert answer.status == 404, "the ticket is accepted, the asset unknown"

        async with asking(ask):
            for values in others:
                await replace_both(services, balancer, daemons, **values)
                if all(NEW in value for value in values.values()):
                    secret[0] = NEW  # the senders follow once every API accepts it
        body = b"{}"
        headers = signed(OLD, body)
        async with http.post(
            f"{balancer.next()}/api/v1/internal/media/callback/image", data=body, headers=headers
        ) as answer:
            assert answer.status == 401, "the old secret is worth nothing any more"
        async with http.get(f"{balancer.next()}/api/v1/media/assets", headers=bearer(OLD)) as answer:
            assert answer.status == 401


async def follow(word: str, folder: Path, **env: str) -> str:
    """Run the runbook's code block that has this word."""
    [script] = [block for block in blocks(RUNBOOK, "sh") if word in block]
    path = f"{postgres_part.program('psql').parent}:/usr/bin:/bin"
    return await run_command("bash", "-eu", "-c", script, cwd=folder, env={"PATH": path, **env})


def is_signed(url: str, group: dict[str, RSAPublicKey]) -> bool:
    """Verify a URL as CloudFront does, with the keys of a key group."""
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}

    def decoded(text: str) -> bytes:
        return base64.b64decode(text.translate(str.maketrans("-_~", "+=/")))

    resource = url.partition("?")[0]
    canned = {"Statement": [{"Resource": resource, "Condition": {"DateLessThan": {"AWS:EpochTime": 0}}}]}
    canned["Statement"][0]["Condition"] = {"DateLessThan": {"AWS:EpochTime": int(query["Expires"])}}
    policy = json.dumps(canned, separators=(",", ":")).encode()
    key = group.get(query["Key-Pair-Id"])
    try:
        if key:
            key.verify(decoded(query["Signature"]), policy, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303
    except InvalidSignature:
        return False
    return key is not None


@pytest.mark.timeout(240)
async def test_cloudfront_key(services: ProxiedServices, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    pems: dict[str, str] = {}
    group: dict[str, RSAPublicKey] = {}
    for slot in ("first", "second"):
        await follow("openssl genrsa", tmp_path)
        pems[slot] = (tmp_path / "new.pem").read_text()
        public = serialization.load_pem_public_key((tmp_path / "new-public.pem").read_bytes())
        assert isinstance(public, RSAPublicKey)
        group[slot] = public

    def signing(slot: str) -> dict[str, str]:
        return {
            "CLOUDFRONT_DOMAIN": "cdn.example",
            "CLOUDFRONT_KEY_PAIR_ID": slot,
            "CLOUDFRONT_PRIVATE_KEY": pems[slot],
        }

    trusted = {"first": group["first"]}
    handed_out: dict[str, float] = {}
    consumer = services.daemon()
    async with two_apis(services, **signing("first")) as (balancer, daemons):
        daemons.append(consumer)
        await consumer.start()
        async with upload_clients(balancer) as clients:
            await clients.upload(PDF)
        assert not clients.failed, clients.failed
        [asset] = clients.uploads

        async def ask() -> None:
            url = f"{balancer.next()}/api/v1/media/assets/{asset.asset_id}/url"
            async with http.get(url, headers=bearer(JWT_SECRET), raise_for_status=True) as answer:
                handed_out[(await answer.json())["url"]] = time.time()
            assert all(is_signed(one, trusted) for one in handed_out), "each URL that is out must be served"

        async with asking(ask):
            trusted["second"] = group["second"]  # step 2
            await replace_both(services, balancer, daemons, **signing("second"))  # step 3
        assert {parse_qs(urlsplit(url).query)["Key-Pair-Id"][0] for url in handed_out} == {"first", "second"}
        del trusted["first"]  # step 4, after the longest lifetime
        handed_out.clear()
        await ask()


@pytest.mark.timeout(240)
async def test_database_password(services: ProxiedServices, postgres_server: Postgres, tmp_path: Path) -> None:
    await postgres_part.create_roles(postgres_server)
    await schema.apply(services.dsn)
    admin = postgres_server.dsn("postgres")

    def settings(role: str, password: str) -> dict[str, str]:
        parts = urlsplit(services.env["MEDIA_DATABASE_URL"])
        return {"MEDIA_DATABASE_URL": f"postgresql://{role}:{password}@{parts.hostname}:{parts.port}{parts.path}"}

    old = postgres_server.password
    consumer = services.daemon(**settings(roles.CONSUMER, old))
    async with two_apis(services, **settings(roles.API, old)) as (balancer, daemons):
        daemons.append(consumer)
        await consumer.start()
        async with upload_clients(balancer) as clients:
            over = asyncio.Event()

            async def upload() -> None:
                while not over.is_set():
                    await clients.upload(JPEG)

            async with asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(upload())
                await follow("ALTER ROLE media_api_second PASSWORD", tmp_path, ADMIN_DATABASE_URL=admin, NEW="changed")
                await replace_both(services, balancer, daemons, **settings("media_api_second", "changed"))
                daemons.append(services.daemon(**settings("media_consumer_second", "changed")))
                await replace_consumer(consumer, daemons[-1])
                await follow("ALTER ROLE media_api PASSWORD NULL", tmp_path, ADMIN_DATABASE_URL=admin)
                await clients.until(len(clients.uploads) + 5)
                over.set()
        await wait_until_all_ended(services, 60)
    assert not clients.failed
    for role in (roles.API, roles.CONSUMER):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(services.dsn.replace("media:", f"{role}:", 1))
