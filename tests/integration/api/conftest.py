"""The API on real parts: the emulator, a database of the test's own, and an HTTP client."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from api.app import running
from api.server.connection_limits import Runner
from api.server.connection_slots import ConnectionLimits
from api.service import SERVICE, Service
from deploy.local import postgres as postgres_part
from deploy.local.postgres import Postgres
from media.asset import ObjectVersion, Rendition, Stage, StageState, Status
from media.asset_store.assets import StoredObject
from media.asset_store.stages import Claim, Commit, StageStore
from media.settings import Settings, load
from tests.conftest import TEMPLATE, Database, EmulatedAws

SECRET = "a secret of the tests that has 32 bytes or more"
MEDIA = "/api/v1/media"
RATE_LIMITS = ("rate_limit_reads", "rate_limit_writes", "rate_limit_urls", "rate_limit_streams")


class ApiServer(TestServer):
    """Run the application with the production Runner: its limits, and no cancellation when a client disconnects."""

    async def _make_runner(self, **_options: Any) -> web.BaseRunner:
        service = self.app[SERVICE]
        limits = ConnectionLimits(service.settings.api_connections, service.settings.api_send_timeout)
        return Runner(self.app, limits, service.metrics, shutdown_timeout=10.0)


type Http = TestClient[Any, Any]


def token(subject: str, **claims: Any) -> str:
    return jwt.encode({"sub": subject, "exp": int(time.time()) + 7200} | claims, SECRET, "HS256")


def bearer(subject: str, **claims: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(subject, **claims)}"}


def settings_of(emulator: EmulatedAws, database: Database, **changes: Any) -> Settings:
    urls = {f"{name.replace('-', '_')}_queue_url": url for name, url in emulator.topology.queue_urls.items()}
    given = {
        "database_url": database.dsn,
        "output_bucket": emulator.topology.output_bucket,
        "aws_region": emulator.region,
        "aws_endpoint_url": emulator.url,
        "jwt_secret": SECRET,
        "cors_origins": "http://localhost:8005",
    } | dict.fromkeys(RATE_LIMITS, 0)
    return load(None, **(urls | given | changes))


@dataclass(frozen=True, slots=True)
class RunningApi:
    """A running API: an HTTP client, and its wired parts to set up what a test needs."""

    http: Http
    service: Service

    async def call(self, method: str, path: str, subject: str = "doctor-1", **options: Any) -> tuple[int, Any]:
        """Send one request as a user. Return status and JSON body (None without one)."""
        claims = options.pop("claims", {})
        headers = bearer(subject, **claims) | options.pop("headers", {})
        async with self.http.request(method, path, headers=headers, **options) as answer:
            text = await answer.read()
            return answer.status, (await answer.json(content_type=None) if text else None)

    async def announce(self, subject: str = "doctor-1", **fields: Any) -> Any:
        """Announce an upload and return its slot."""
        body = {"asset_type": "image", "content_type": "image/jpeg", "original_filename": "photo.jpg"} | fields
        claims = body.pop("claims", {})
        status, slot = await self.call("POST", f"{MEDIA}/upload", subject, json=body, claims=claims)
        assert status == 201, slot
        return slot

    async def ready(self, asset_id: str, *renditions: Rendition, status: Status = Status.READY) -> None:
        """Take an announced asset to its final status, as the consumer would."""
        asset = await self.service.assets.get(UUID(asset_id))
        assert asset is not None
        version = ObjectVersion(asset.bucket, asset.key, "v1")
        await self.service.assets.bind(asset.asset_id, StoredObject(version, "etag", 9))
        stages = StageStore(self.service.database)
        claim = await stages.claim(asset.asset_id, Stage.SCAN, version_id="v1", lease=30)
        assert isinstance(claim, Claim)
        state = StageState.DONE if status is Status.READY else StageState.REJECTED
        await stages.commit(claim.fence, Commit(state, status, renditions=renditions))


@asynccontextmanager
async def opened(emulator: EmulatedAws, database: Database, **changes: Any) -> AsyncIterator[RunningApi]:
    """Run an API. Its clients read the AWS variables once, when they are made."""
    async with AsyncExitStack() as stack:
        with pytest.MonkeyPatch.context() as environment:
            for name, value in emulator.client_env.items():
                environment.setenv(name, value)
            app = await stack.enter_async_context(running(settings_of(emulator, database, **changes)))
        client = TestClient(ApiServer(app), cookie_jar=aiohttp.DummyCookieJar())
        yield RunningApi(await stack.enter_async_context(client), app[SERVICE])


@pytest.fixture
def start_api(emulator: EmulatedAws, postgres: Database) -> Callable[..., AbstractAsyncContextManager[RunningApi]]:
    """Return a function that runs an API with given settings, on a database of this test alone."""
    return partial(opened, emulator, postgres)


@pytest.fixture
async def api(emulator: EmulatedAws, postgres: Database) -> AsyncIterator[RunningApi]:
    """Run an API on a database of this test alone."""
    async with opened(emulator, postgres) as fresh:
        yield fresh


@pytest.fixture(scope="session")
async def shared_api(emulator: EmulatedAws, postgres_server: Postgres) -> AsyncIterator[RunningApi]:
    """Run one API for all tests that tolerate the assets of others."""
    name = f"busy_{uuid4().hex}"
    await postgres_part.create_database(postgres_server, name, template=TEMPLATE)
    async with opened(emulator, Database(postgres_server.dsn(name))) as shared:
        yield shared
