"""The S3 adapter on both backends."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from media.asset import ObjectVersion
from media.aws.bucket_checks import BucketSelfTest
from media.aws.clients import Clients
from media.aws.s3 import CHUNK, MissingObjectError, ObjectStorage
from media.errors import RetryableError, UnavailableError
from tests.integration.media.conftest import Cloud, settings_for


async def put(cloud: Cloud, key: str, body: bytes = b"first") -> ObjectVersion:
    answer = await cloud.s3.put_object(Bucket=cloud.bucket, Key=key, Body=body, ContentType="text/plain")
    return ObjectVersion(cloud.bucket, key, answer["VersionId"])


async def test_bound_version_is_read_after_later_uploads(cloud: Cloud, tmp_path: Path) -> None:
    first = await put(cloud, "a/file name+ü.txt")
    second = await put(cloud, "a/file name+ü.txt", b"second")
    assert await cloud.storage.read(first, limit=100) == b"first"
    await cloud.storage.download(second, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"second"


async def test_head_returns_version_size_and_etag(cloud: Cloud) -> None:
    await put(cloud, "key")
    second = await put(cloud, "key", b"second")
    found = await cloud.storage.head(ObjectVersion(cloud.bucket, "key"))
    assert found
    assert (found.version, found.size) == (second, 6)
    assert found.etag
    assert '"' not in found.etag


async def test_missing_objects_are_reported(cloud: Cloud) -> None:
    missing = ObjectVersion(cloud.bucket, "nothing")
    assert await cloud.storage.head(missing) is None
    with pytest.raises(MissingObjectError):
        await cloud.storage.read(missing, limit=1)
    deleted = await put(cloud, "gone")
    await cloud.storage.delete_version(deleted)
    with pytest.raises(MissingObjectError):
        await cloud.storage.read(deleted, limit=1)


async def test_a_stream_comes_in_large_pieces(cloud: Cloud) -> None:
    body = bytes(range(256)) * 4096
    version = await put(cloud, "large", body)
    async with cloud.storage.stream(version) as pieces:
        read = [piece async for piece in pieces]
    assert b"".join(read) == body
    assert max(map(len, read)) <= CHUNK
    assert len(read) <= 40  # 1 MiB; a piece may end where a packet did, but not after every KiB


async def test_reading_stops_at_the_limit(cloud: Cloud) -> None:
    version = await put(cloud, "long", b"x" * 1000)
    with pytest.raises(RetryableError):
        await cloud.storage.read(version, limit=999)


async def test_tags_are_merged_and_belong_to_a_version(cloud: Cloud) -> None:
    first, second = await put(cloud, "tagged"), await put(cloud, "tagged", b"second")
    await cloud.storage.tag(first, {"owner": "u1", "scan-status": "ERROR"})
    await cloud.storage.tag(first, {"scan-status": "CLEAN"})
    assert await tags(cloud, first) == {"owner": "u1", "scan-status": "CLEAN"}
    assert await tags(cloud, second) == {}


async def tags(cloud: Cloud, version: ObjectVersion) -> dict[str, str]:
    answer = await cloud.s3.get_object_tagging(Bucket=version.bucket, Key=version.key, VersionId=version.version_id)
    return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}


async def test_deleting_a_prefix_removes_all_its_versions_only(cloud: Cloud) -> None:
    for key in ("out/1/a", "out/1/a", "out/1/b", "out/10/a"):
        await put(cloud, key)
    await cloud.s3.delete_object(Bucket=cloud.bucket, Key="out/1/b")
    assert await cloud.storage.delete_prefix(cloud.bucket, "out/1/") == 4
    assert [file.key for file in await cloud.storage.list(cloud.bucket, "out/")] == ["out/10/a"]
    assert await cloud.storage.delete_prefix(cloud.bucket, "out/1/") == 0


async def test_a_prefix_must_end_in_a_slash(cloud: Cloud) -> None:
    with pytest.raises(ValueError, match="slash"):
        await cloud.storage.delete_prefix(cloud.bucket, "out/1")


async def test_deleting_a_key_removes_all_its_versions_only(cloud: Cloud) -> None:
    for key in ("k", "k", "k2"):
        await put(cloud, key)
    await cloud.storage.delete_key(cloud.bucket, "k")
    assert [file.key for file in await cloud.storage.list(cloud.bucket, "k")] == ["k2"]


async def test_version_with_an_odd_name_is_copied(cloud: Cloud) -> None:
    first = await put(cloud, "dir/a+b c.txt")
    await put(cloud, "dir/a+b c.txt", b"second")
    await cloud.storage.copy(first, cloud.bucket, "copied")
    assert await cloud.storage.read(ObjectVersion(cloud.bucket, "copied"), limit=100) == b"first"


async def test_files_and_bytes_are_stored_with_their_type_and_cache(cloud: Cloud, tmp_path: Path) -> None:
    path = tmp_path / "w150.webp"
    path.write_bytes(b"webp")
    await cloud.storage.upload(cloud.bucket, "w150.webp", path, "image/webp", cache="public, max-age=1")
    found = await cloud.s3.head_object(Bucket=cloud.bucket, Key="w150.webp")
    assert (found["ContentType"], found["CacheControl"], found["ContentLength"]) == (
        "image/webp",
        "public, max-age=1",
        4,
    )
    known = await cloud.storage.head(ObjectVersion(cloud.bucket, "w150.webp"))
    assert known
    assert known.content_type == "image/webp"


async def test_a_refusal_is_not_an_outage(cloud: Cloud) -> None:
    with pytest.raises((RetryableError, MissingObjectError)):
        await cloud.storage.write("no-such-bucket-at-all", "key", b"", "text/plain")


async def test_self_test_is_written_once(cloud: Cloud) -> None:
    self_test = BucketSelfTest(cloud.s3, cloud.bucket)
    for call in (self_test.read, self_test.read, self_test.check, self_test.check):
        await call()
    versions = await cloud.s3.list_object_versions(Bucket=cloud.bucket, Prefix="private/self-test")
    assert len(versions["Versions"]) == 1


async def test_an_outage_is_unavailable(cloud: Cloud, unused_tcp_port: int) -> None:
    async with AsyncExitStack() as stack:
        clients = Clients(settings_for(f"http://127.0.0.1:{unused_tcp_port}"), stack)
        away = ObjectStorage(await clients.s3())
        with pytest.raises(UnavailableError):
            await away.head(ObjectVersion(cloud.bucket, "key"))


async def test_newest_version_is_found_by_listing(cloud: Cloud) -> None:
    assert await cloud.storage.newest(cloud.bucket, "uploads/a") is None
    await cloud.storage.write(cloud.bucket, "uploads/a.more", b"another key", "text/plain")
    await cloud.storage.write(cloud.bucket, "uploads/a", b"1", "text/plain")
    await cloud.storage.write(cloud.bucket, "uploads/a", b"22", "text/plain")
    found = await cloud.storage.newest(cloud.bucket, "uploads/a")
    current = await cloud.storage.head(ObjectVersion(cloud.bucket, "uploads/a"))
    assert found
    assert current
    assert (found.version, found.etag, found.size) == (current.version, current.etag, 2)
    await cloud.s3.delete_object(Bucket=cloud.bucket, Key="uploads/a")
    assert await cloud.storage.newest(cloud.bucket, "uploads/a") is None
