"""The adapter to S3 for objects. Every call that can name a version does."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from media.asset import ObjectVersion
from media.asset_store.assets import StoredObject
from media.aws.failures import AccessCheck
from media.aws.s3_errors import SLOW, ChangedObjectError, MissingObjectError, require_etag, require_listing, s3_calls
from media.errors import Code, RetryableError

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

__all__ = [
    "CHUNK",
    "DELIVERY_TAG",
    "ChangedObjectError",
    "MissingObjectError",
    "ObjectStorage",
    "ServedAs",
    "StoredFile",
    "StoredVersion",
    "pieces_of",
    "s3_calls",
]

CHUNK = 256 * 1024
"""Bytes read at a time. Smaller pieces cost more than they save (facts: clamd, chunk size)."""
DELETE_BATCH = 1000
"""Most keys in one DeleteObjects, S3's limit."""
DELIVERY_TAG = "scan-delivery"
"""Tag of a scanned upload with its delivery class, so that an asset whose row is lost is not served to others."""
TAG_LIMIT = 10
"""Most tags on one object, S3's limit."""
COPIES = 8
"""Objects that are copied at once."""
COPY_PART = 512 * 1024 * 1024
"""Bytes copied in one call. S3 allows 5 GB; this much is copied well within our read timeout."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An object below a prefix. `size` is bytes."""

    key: str
    size: int


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A version of an object as the bucket's listing has it. `version_id` is empty in a bucket without versions."""

    key: str
    version_id: str
    is_current: bool
    etag: str
    size: int
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class ServedAs:
    """The headers that an object is served with."""

    content_type: str
    disposition: str
    cache: str


class ObjectStorage:
    """Reads, writes, tags, copies, lists and deletes objects.

    Every method raises UnavailableError when S3 is down or refuses everything, RetryableError(storage_error) when
    `access` says that it refuses this object alone.
    """

    def __init__(self, client: "S3Client", access: AccessCheck | None = None) -> None:
        self._client = client
        self._calls = partial(s3_calls, access=access)

    async def is_versioned(self, bucket: str) -> bool:
        """Say whether the bucket keeps versions now. Raises MissingObjectError when it does not exist."""
        async with self._calls():
            return (await self._client.get_bucket_versioning(Bucket=bucket)).get("Status") == "Enabled"

    async def head(self, version: ObjectVersion) -> StoredObject | None:
        """Return the object (the current version when none is named), or None when it is not there."""
        try:
            async with self._calls():
                found = await self._client.head_object(**_address(version))
                bound = ObjectVersion(version.bucket, version.key, _version_id(found.get("VersionId")))
                etag = found["ETag"].strip('"')
                return StoredObject(bound, etag, found["ContentLength"], content_type=found.get("ContentType"))
        except MissingObjectError:
            return None

    async def newest(self, bucket: str, key: str) -> StoredObject | None:
        """Return the current version of a key from the bucket's listing, without its content type.

        S3 answers HEAD only to roles that may read the object. Only the scanner's role may read an object that is not
        known to be clean.
        """
        async with self._calls():
            page = await self._client.list_object_versions(Bucket=bucket, Prefix=key, MaxKeys=10)
            require_listing(page)
            for found in page.get("Versions", ()):
                if found["Key"] == key and found["IsLatest"]:
                    version = ObjectVersion(bucket, key, _version_id(found.get("VersionId")))
                    return StoredObject(version, found["ETag"].strip('"'), found["Size"])
        return None

    @asynccontextmanager
    async def stream(self, version: ObjectVersion, *, etag: str | None = None) -> AsyncIterator[AsyncIterator[bytes]]:
        """Yield the bytes of one version, in pieces of CHUNK. With `etag`, only while the object has that ETag.

        Raises MissingObjectError, ChangedObjectError.
        """
        condition: dict[str, Any] = {"IfMatch": f'"{etag}"'} if etag else {}
        async with self._calls():
            answer = await self._client.get_object(**_address(version), **condition)
            require_etag(answer)
        async with answer["Body"] as body, aclosing(pieces_of(body)) as pieces:
            yield pieces

    async def sha256(self, version: ObjectVersion) -> str:
        """Return the SHA-256 of one version in hexadecimal. Raises MissingObjectError."""
        digest = hashlib.sha256()
        async with self.stream(version) as pieces:
            async for piece in pieces:
                digest.update(piece)
        return digest.hexdigest()

    async def download(self, version: ObjectVersion, path: Path) -> None:
        """Write one version to a file. Raises MissingObjectError."""
        with path.open("wb") as file:
            async with self.stream(version) as pieces:
                async for piece in pieces:
                    await asyncio.to_thread(file.write, piece)

    async def read(self, version: ObjectVersion, *, limit: int) -> bytes:
        """Return a small object. Raises MissingObjectError, and RetryableError when it has more than `limit` bytes."""
        read = bytearray()
        async with self.stream(version) as pieces:
            async for piece in pieces:
                read += piece
                if len(read) > limit:
                    raise RetryableError(Code.STORAGE_ERROR, f"{version.key} has more than {limit} bytes")
        return bytes(read)

    async def write(self, bucket: str, key: str, body: bytes, content_type: str, *, cache: str = "") -> None:
        """Store a small object."""
        extra: dict[str, Any] = {"CacheControl": cache} if cache else {}
        async with self._calls(sent=len(body)):
            stored = await self._client.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type, **extra)
            require_etag(stored)

    async def replace(self, bucket: str, key: str, body: bytes, content_type: str, *, etag: str | None) -> None:
        """Store a small object in the place of the one with this ETag, None for none. Raises ChangedObjectError."""
        condition: dict[str, Any] = {"IfMatch": f'"{etag}"'} if etag else {"IfNoneMatch": "*"}
        async with s3_calls(sent=len(body)):
            new: Any = {"Bucket": bucket, "Key": key, "Body": body, "ContentType": content_type}
            require_etag(await self._client.put_object(**new, **condition))

    async def tag(self, version: ObjectVersion, tags: Mapping[str, str], *, ours: str | tuple[str, ...] = ()) -> None:
        """Add tags to one version. PutObjectTagging alone would replace the whole set.

        Old tags whose keys begin with `ours` are removed: only this service may write them. Of the others as many are
        kept as fit into TAG_LIMIT beside the new ones.
        """
        async with self._calls():
            found = await self._client.get_object_tagging(**_address(version))
            others = [(tag["Key"], tag["Value"]) for tag in found["TagSet"] if not tag["Key"].startswith(ours)]
            merged = dict(others[: TAG_LIMIT - len(tags)]) | dict(tags)
            await self._client.put_object_tagging(
                **_address(version),
                Tagging={"TagSet": [{"Key": key, "Value": value[:256]} for key, value in merged.items()]},
            )

    async def tags(self, version: ObjectVersion) -> dict[str, str]:
        """Return the tags of one version. Raises MissingObjectError."""
        async with self._calls():
            found = await self._client.get_object_tagging(**_address(version))
            return {tag["Key"]: tag["Value"] for tag in found["TagSet"]}

    async def copy(self, source: ObjectVersion, bucket: str, key: str, *, cache: str = "") -> None:
        """Copy one version to another place with its type and tags, whatever its size. Raises MissingObjectError.

        With `cache` the copy is served with that Cache-Control. Large objects are copied in parts: S3 copies at most
        5 GB in one call, and answers only when it is done.
        """
        async with self._calls():
            found = await self._client.head_object(**_address(source))
        headers: Any = {"ContentType": found.get("ContentType", "application/octet-stream")}
        if cache:
            headers["CacheControl"] = cache
        if "ContentDisposition" in found:
            headers["ContentDisposition"] = found["ContentDisposition"]
        if found["ContentLength"] > COPY_PART:
            await self._copy_parts(source, found["ContentLength"], bucket, key, headers)
            return
        changed: Any = {"MetadataDirective": "REPLACE", "TaggingDirective": "COPY", **headers} if cache else {}
        async with self._calls(SLOW):
            copied = await self._client.copy_object(Bucket=bucket, Key=key, CopySource=_address(source), **changed)
            require_etag(copied["CopyObjectResult"])

    async def copy_all(self, bucket: str, files: Mapping[str, str], *, cache: str) -> None:
        """Copy objects within a bucket, COPIES at a time: keys by keys. The first failure ends it."""
        left = iter(files.items())

        async def work() -> None:
            for source, target in left:
                await self.copy(ObjectVersion(bucket, source), bucket, target, cache=cache)

        workers = [asyncio.create_task(work()) for _ in range(COPIES)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def publish(self, source: ObjectVersion, bucket: str, key: str, headers: ServedAs) -> None:
        """Copy one version to the key that it is served from, with these headers. Raises MissingObjectError.

        Takes at most 5 GB, S3's limit for one call.
        """
        async with self._calls(SLOW):
            copied = await self._client.copy_object(
                Bucket=bucket,
                Key=key,
                CopySource=_address(source),
                MetadataDirective="REPLACE",
                TaggingDirective="COPY",
                ContentType=headers.content_type,
                ContentDisposition=headers.disposition,
                CacheControl=headers.cache,
            )
            require_etag(copied["CopyObjectResult"])

    async def _copy_parts(self, source: ObjectVersion, size: int, bucket: str, key: str, headers: Any) -> None:
        tags = await self.tags(source)
        count = -(-size // COPY_PART)
        async with self._calls(SLOW * (count + 1)):
            begun = await self._client.create_multipart_upload(Bucket=bucket, Key=key, **headers)
            upload: Any = {"Bucket": bucket, "Key": key, "UploadId": begun["UploadId"]}
            try:
                parts: list[Any] = []
                for number in range(1, count + 1):
                    first = (number - 1) * COPY_PART
                    copied = await self._client.upload_part_copy(
                        **upload,
                        PartNumber=number,
                        CopySource=_address(source),
                        CopySourceRange=f"bytes={first}-{min(first + COPY_PART, size) - 1}",
                    )
                    parts.append({"PartNumber": number, "ETag": copied["CopyPartResult"]["ETag"]})
                require_etag(await self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}))
            except BaseException:
                await self._client.abort_multipart_upload(**upload)
                raise
        if tags:
            await self.tag(ObjectVersion(bucket, key), tags)

    async def list(self, bucket: str, prefix: str, *, limit: int = 10_000) -> list[StoredFile]:
        """Return the current objects below a prefix, at most `limit`."""
        files: list[StoredFile] = []
        async with self._calls(SLOW):
            async for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                require_listing(page)
                files += [StoredFile(item["Key"], item["Size"]) for item in page.get("Contents", ())]
                if len(files) >= limit:
                    break
        return files[:limit]

    async def versions(self, bucket: str, prefix: str) -> AsyncGenerator[StoredVersion]:
        """Yield every version below a prefix, by key, newest first. A page is in memory at a time; no right to read."""
        position: dict[str, Any] = {}
        while True:
            async with self._calls():
                page = await self._client.list_object_versions(Bucket=bucket, Prefix=prefix, **position)
                require_listing(page)
            for found in page.get("Versions", ()):
                yield StoredVersion(
                    key=found["Key"],
                    version_id=_version_id(found.get("VersionId")),
                    is_current=found["IsLatest"],
                    etag=found["ETag"].strip('"'),
                    size=found["Size"],
                    modified_at=found["LastModified"],
                )
            if not page.get("IsTruncated"):
                return
            position = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page.get("NextVersionIdMarker", "")}

    async def delete_version(self, version: ObjectVersion) -> None:
        """Remove one version for good. A version that is not there is no error."""
        async with self._calls():
            await self._client.delete_object(**_address(version))

    async def delete_prefix(self, bucket: str, prefix: str) -> int:
        """Remove every version of every object below a prefix, which must end in a slash; returns how many."""
        if not prefix.endswith("/"):
            raise ValueError(f"a prefix ends in a slash: {prefix!r}")
        return await self._delete_versions(bucket, prefix)

    async def delete_key(self, bucket: str, key: str) -> int:
        """Remove every version and delete marker of one key; returns how many."""
        return await self._delete_versions(bucket, key, exact=True)

    async def _delete_versions(self, bucket: str, prefix: str, *, exact: bool = False) -> int:
        count = 0
        async with self._calls(SLOW):
            async for page in self._client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
                require_listing(page)
                entries: list[Any] = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
                batch: list[Any] = [
                    {"Key": entry["Key"], "VersionId": entry["VersionId"]}
                    for entry in entries
                    if not exact or entry["Key"] == prefix
                ][:DELETE_BATCH]
                if not batch:
                    continue
                answer = await self._client.delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})
                if errors := answer.get("Errors"):
                    raise RetryableError(Code.STORAGE_ERROR, f"{len(errors)} objects could not be deleted: {errors[0]}")
                count += len(batch)
        return count

    async def presign(self, version: ObjectVersion, *, seconds: int) -> str:
        """Return a URL for our own tools (ffprobe), good for `seconds`. It carries a signature: never log it."""
        async with self._calls():
            return await self._client.generate_presigned_url("get_object", Params=_address(version), ExpiresIn=seconds)

    async def upload(self, bucket: str, key: str, path: Path, content_type: str, *, cache: str = "") -> None:
        """Store a file of a few MiB at most, such as a rendition of a picture."""
        await self.write(bucket, key, await asyncio.to_thread(path.read_bytes), content_type, cache=cache)


async def pieces_of(body: Any) -> AsyncGenerator[bytes]:
    """Yield an answer's body in pieces of CHUNK, each with a deadline of its own."""
    while True:
        async with s3_calls():
            piece = await body.read(CHUNK)
        if not piece:
            return
        yield piece


def _address(version: ObjectVersion) -> Any:
    address = {"Bucket": version.bucket, "Key": version.key}
    return address | {"VersionId": version.version_id} if version.version_id else address


def _version_id(value: str | None) -> str:
    return "" if value in {None, "null"} else str(value)
