"""A deleted public picture leaves the caches: CloudFront's by an invalidation, all others by their headers."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
import pytest
from aiobotocore.session import get_session
from botocore.exceptions import ClientError

from deploy.local import tokens
from deploy.local.api_client import BASE
from media.asset import AssetType
from tests.fakes.http_cache import HttpCache
from tests.faults.conftest import Aws
from tests.faults.load_balancer import load_balancer, upload_clients
from tests.faults.proxied_services import JWT_SECRET, ROOT, ProxiedServices
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


def kept_by_policy() -> int:
    """Return the minimum TTL of our cache policy."""
    template = (ROOT / "deploy" / "cloudformation" / "edge.yaml").read_text()
    [seconds] = re.findall(r"(?s)\n  KeepRenditions:.*?MinTTL: (\d+)", template)
    return int(seconds)


@pytest.mark.soak
async def test_deleted_public_picture_leaves_every_cache(services: ProxiedServices, cloudfront: Any) -> None:
    config = DISTRIBUTION | {"CallerReference": uuid4().hex}
    created = await cloudfront.create_distribution(DistributionConfig=config)
    distribution = created["Distribution"]["Id"]
    consumer = services.daemon(CLOUDFRONT_DISTRIBUTION_ID=distribution)
    api = services.api(CLOUDFRONT_DOMAIN="cdn.example", MEDIA_API_DRAIN_DELAY="0")

    async def origin(path: str) -> tuple[int, str]:
        try:
            answer = await services.s3.head_object(Bucket=services.bucket, Key=path.lstrip("/"))
        except ClientError as error:
            return int(error.response["ResponseMetadata"]["HTTPStatusCode"]), ""
        return 200, answer["CacheControl"]

    proxy, policy = HttpCache(origin), HttpCache(origin, least_ttl=kept_by_policy())
    headers = {"Authorization": f"Bearer {tokens.mint(JWT_SECRET, user=USER, role='user')}"}
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
                path = urlsplit((await answer.json())["url"]).path
            assert path.startswith("/public/")
            assert [await cache.get(path) for cache in (proxy, policy)] == [200, 200]
            begun = asyncio.get_running_loop().time()
            async with http.delete(asset):
                pass
        patterns = await first_invalidation(cloudfront, distribution)
        print(f"the invalidation was there {asyncio.get_running_loop().time() - begun:.1f} s after DELETE")  # noqa: T201
    finally:
        await asyncio.gather(consumer.kill(), api.kill())
    assert [await cache.get(path) for cache in (proxy, policy)] == [200, 200], "both keep it"
    policy.invalidate(patterns)
    assert await policy.get(path) == 404
    proxy.now += SIX_MINUTES
    assert await proxy.get(path) == 404
