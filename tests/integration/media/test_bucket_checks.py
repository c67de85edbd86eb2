"""A bucket without versions is refused; one that cannot be asked is told apart."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from media.aws.bucket_checks import BucketError, VersioningCheck
from media.aws.clients import Clients
from media.aws.failures import AccessCheck
from media.aws.s3 import ObjectStorage
from media.aws.s3_multipart import MultipartUploads
from media.errors import Dependency, UnavailableError
from tests.integration.media.conftest import Cloud, settings_for

DENIED = "<Error><Code>AccessDenied</Code><Message>not authorized to perform: s3:GetBucketVersioning</Message></Error>"


async def test_only_a_bucket_that_keeps_versions_passes(cloud: Cloud) -> None:
    check = VersioningCheck(cloud.storage, cloud.bucket)
    assert await check.ask()
    assert check.passed
    never = f"never-{cloud.bucket}"[:60]
    await cloud.s3.create_bucket(Bucket=never, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    await cloud.s3.put_bucket_versioning(Bucket=cloud.bucket, VersioningConfiguration={"Status": "Suspended"})
    for name in (never, cloud.bucket):
        with pytest.raises(BucketError, match=f"{name} .* is not versioned.*put-bucket-versioning"):
            await VersioningCheck(cloud.storage, name).ask()
    with pytest.raises(BucketError, match="does not exist"):
        await VersioningCheck(cloud.storage, "nobody-has-this-bucket").ask()


@pytest.mark.parametrize("status", [403, 503])
async def test_bucket_that_may_not_be_asked_is_told_from_an_outage(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")

    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=status, text=DENIED if status == 403 else "", content_type="application/xml")

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", refuse)
    async with TestServer(app) as server, AsyncExitStack() as stack:
        s3 = await Clients(settings_for(str(server.make_url(""))), stack).s3()
        assert not await VersioningCheck(ObjectStorage(s3), "bucket").ask()
        access = AccessCheck(Dependency.S3, lambda: asyncio.sleep(0))  # nothing but this is refused
        check = VersioningCheck(ObjectStorage(s3, access), "bucket")
        if status == 403:
            with pytest.raises(BucketError, match="the role needs s3:GetBucketVersioning"):
                await check.ask()
        else:
            assert not await check.ask()
        assert not check.passed


# moto's own server fails on an upload that never was.
@pytest.mark.parametrize("cloud", ["emulator"], indirect=True)
async def test_right_to_store_is_asked_for_without_storing(cloud: Cloud) -> None:
    await MultipartUploads(cloud.s3).check(cloud.bucket, "uploads/self-test")
    assert not (await cloud.s3.list_object_versions(Bucket=cloud.bucket)).get("Versions")
    assert not (await cloud.s3.list_multipart_uploads(Bucket=cloud.bucket)).get("Uploads")


@pytest.mark.parametrize(("status", "code"), [(404, "NoSuchUpload"), (403, "AccessDenied"), (503, "SlowDown")])
async def test_only_an_upload_that_is_missing_proves_the_right_to_store(
    status: int, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(f"{request.method} {request.path_qs} {request.headers['If-None-Match']}")
        return web.Response(status=status, text=f"<Error><Code>{code}</Code></Error>", content_type="application/xml")

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", answer)
    async with TestServer(app) as server, AsyncExitStack() as stack:
        check = MultipartUploads(await Clients(settings_for(str(server.make_url(""))), stack).s3()).check
        if status == 404:
            await check("bucket", "uploads/self-test")
            assert asked == ["POST /bucket/uploads/self-test?uploadId=none *"], (
                "one call, as the bucket policy wants it"
            )
        else:
            with pytest.raises(UnavailableError):
                await check("bucket", "uploads/self-test")
