"""A deleted public picture leaves the caches: CloudFront's by an invalidation, all others by their headers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
import pytest
from aiobotocore.session import get_session
from aiohttp import web
from aiohttp.test_utils import TestServer
from botocore.exceptions import ClientError

from deploy.local import tokens
from deploy.local.api_client import BASE
from media.asset import AssetType
from tests.fakes.caching_proxy import FROM_CACHE, CachingProxy, caching_proxy
from tests.fakes.policy_cache import PolicyCache
from tests.faults.conftest import Aws
from tests.faults.load_balancer import load_balancer, upload_clients
from tests.faults.proxied_services import JWT_SECRET, ProxiedServices
from tests.faults.sample_uploads import Kind, picture

PICTURE = Kind(AssetType.IMAGE, "image/jpeg", "photo.jpg", picture("JPEG"))
USER = "dr-house"
"""The user of the clients that upload."""
DISTRIBUTION = {
    "Comment": "",
    "Enabled": True,
    "Origins": {"Quantity": 1, "Items": [{"Id": "bucket", "DomainName": "bucket.s3.amazonaws.com"}]},
    "DefaultCacheBehavior": {"TargetOriginId": "bucket", "ViewerProtocolPolicy": "https-only"},
}
GENEROUS = 60.0
"""Seconds to wait for what takes some five. The test prints how long it took."""
SIX_MINUTES = 360


@pytest.fixture
async def cloudfront(own_aws: Aws) -> AsyncIterator[Any]:
    env = own_aws.client_env
    async with get_session().create_client(
        "cloudfront",
        endpoint_url=own_aws.url,
        region_name=env["AWS_REGION"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    ) as client:
        yield client


async def first_invalidation(cloudfront: Any, distribution: str) -> list[str]:
    """Wait for an invalidation. Return its paths."""
    async with asyncio.timeout(GENEROUS):
        while True:
            found = await cloudfront.list_invalidations(DistributionId=distribution)
            if items := found["InvalidationList"].get("Items"):
                one = await cloudfront.get_invalidation(DistributionId=distribution, Id=items[0]["Id"])
                return list(one["Invalidation"]["InvalidationBatch"]["Paths"]["Items"])
            await asyncio.sleep(0.05)


@asynccontextmanager
async def bucket_behind_edge(services: ProxiedServices) -> AsyncIterator[str]:
    """Serve the bucket's files without signatures, as CloudFront reads them. Yield the URL."""

    async def answer(request: web.Request) -> web.Response:
        try:
            found = await services.s3.get_object(Bucket=services.bucket, Key=request.path.lstrip("/"))
        except ClientError as error:
            return web.Response(status=int(error.response["ResponseMetadata"]["HTTPStatusCode"]))
        headers = {name: str(found[name.replace("-", "")]) for name in ("Cache-Control", "ETag")}
        return web.Response(body=await found["Body"].read(), headers=headers)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


@asynccontextmanager
async def caches(services: ProxiedServices, folder: Path) -> AsyncIterator[tuple[CachingProxy, PolicyCache]]:
    """Run a proxy that obeys the headers, and a cache of our policy, before the bucket."""
    async with (
        bucket_behind_edge(services) as origin,
        caching_proxy(origin, folder) as proxy,
        aiohttp.ClientSession(origin) as http,
    ):

        async def status(path: str) -> int:
            async with http.get(path) as answer:
                return answer.status

        yield proxy, PolicyCache(status)


async def get(url: str) -> tuple[int, str]:
    """Return the status, and whether a proxy had the answer: HIT or not."""
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return answer.status, answer.headers[FROM_CACHE]


@pytest.mark.soak
@pytest.mark.timeout(SIX_MINUTES + 180)
async def test_deleted_public_picture_leaves_every_cache(
    services: ProxiedServices, cloudfront: Any, tmp_path: Path
) -> None:
    config = DISTRIBUTION | {"CallerReference": uuid4().hex}
    created = await cloudfront.create_distribution(DistributionConfig=config)
    distribution = created["Distribution"]["Id"]
    consumer = services.daemon(CLOUDFRONT_DISTRIBUTION_ID=distribution)
    api = services.api(CLOUDFRONT_DOMAIN="cdn.example", MEDIA_API_DRAIN_DELAY="0")
    headers = {"Authorization": f"Bearer {tokens.mint(JWT_SECRET, user=USER, role='user')}"}
    async with caches(services, tmp_path) as (proxy, policy):
        try:
            await asyncio.gather(consumer.start(), api.start())
            await asyncio.gather(consumer.until_status(200), api.until_status(200))
            async with load_balancer(api) as balancer, upload_clients(balancer) as clients:
                await balancer.check(api)
                await clients.upload(PICTURE)
                assert not clients.failed
            asset = f"{BASE}/assets/{clients.uploads[0].asset_id}"
            async with aiohttp.ClientSession(api.url, headers=headers, raise_for_status=True) as http:
                async with http.get(f"{asset}/url") as answer:
                    url = (await answer.json())["url"]
                path, proxied = urlsplit(url).path, proxy.url(url)
                assert path.startswith("/public/")
                assert [await get(proxied), await get(proxied)] == [(200, "MISS"), (200, "HIT")]
                assert await policy.get(path) == 200
                begun = asyncio.get_running_loop().time()
                async with http.delete(asset):
                    pass
            patterns = await first_invalidation(cloudfront, distribution)
            print(f"the invalidation was there {asyncio.get_running_loop().time() - begun:.1f} s after DELETE")  # noqa: T201
        finally:
            await asyncio.gather(consumer.kill(), api.kill())
        assert (await get(proxied), await policy.get(path)) == ((200, "HIT"), 200), "both keep it"
        policy.invalidate(patterns)
        assert await policy.get(path) == 404
        async with asyncio.timeout(SIX_MINUTES):
            while (await get(proxied))[0] == 200:  # noqa: ASYNC110 - it goes by its own clock
                await asyncio.sleep(1)
        assert (await get(proxied))[0] == 404
        print(f"gone from the proxy {asyncio.get_running_loop().time() - begun:.0f} s after DELETE")  # noqa: T201
