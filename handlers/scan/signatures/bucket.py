"""The mirrored signatures in the bucket: files named by their digest, and a manifest that is written last.

A file is never replaced, so that who reads a manifest finds what it names. The manifest is replaced only if it is
still the one that was looked at: of two mirrors at the same time, the later one gives up.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from handlers.scan.signatures.disk import SignatureDisk
from handlers.scan.signatures.signature_set import MANIFEST_LIMIT, Manifest, SignatureFile
from media.asset import ObjectVersion
from media.aws.s3 import ChangedObjectError, MissingObjectError, ObjectStorage
from media.errors import RetryableError, UnavailableError


class SignatureSourceError(Exception):
    """A source has no signatures for us now. The message says why, for a log."""


@dataclass(frozen=True, slots=True)
class PublishedSet:
    """A manifest in the bucket, None for one that cannot be read, and its object's ETag."""

    manifest: Manifest | None
    etag: str | None


class SignatureBucket:
    """The set below `prefix` in a bucket. Every method raises SignatureSourceError."""

    name = "bucket"

    def __init__(self, storage: ObjectStorage, bucket: str, prefix: str) -> None:
        self._storage = storage
        self._bucket = bucket
        self._prefix = prefix

    async def look(self) -> Manifest:
        """Return the published set."""
        if (found := await self.published()) is None:
            raise SignatureSourceError("no signatures were published yet")
        if found.manifest is None:
            raise SignatureSourceError("its manifest is not valid")
        return found.manifest

    async def published(self) -> PublishedSet | None:
        """Return the published set with its ETag, None before the first."""
        async with _storage_errors():
            found = await self._storage.head(ObjectVersion(self._bucket, self._prefix + "manifest.json"))
            if found is None:
                return None
            text = await self._storage.read(found.version, limit=MANIFEST_LIMIT)
        try:
            return PublishedSet(Manifest.model_validate_json(text), found.etag)
        except ValidationError:
            return PublishedSet(None, found.etag)

    async def collect(self, manifest: Manifest, disk: SignatureDisk) -> None:
        """Put the set's files into `disk.incoming`; its adoption checks their digests."""
        async with _storage_errors():
            for file in manifest.files:
                if not disk.reuse(file.sha256, file.name):
                    await self._storage.download(self._version(file), disk.incoming / file.name)

    async def publish(
        self, manifest: Manifest, folder: Path, replaced: PublishedSet | None, *, anew: bool = False
    ) -> None:
        """Upload a set that was checked, then name it in the manifest. Removes what neither set needs any more.

        With `anew` files that are there already are uploaded too: one of them is damaged.
        """
        async with _storage_errors():
            for file in manifest.files:
                held = await self._storage.head(self._version(file))
                if anew or held is None or held.size != file.size:
                    await self._storage.upload(
                        self._bucket, self._version(file).key, folder / file.name, "application/octet-stream"
                    )
            text = manifest.model_copy(update={"published_at": datetime.now(UTC)}).model_dump_json(indent=2)
            await self._storage.replace(
                self._bucket,
                self._prefix + "manifest.json",
                text.encode(),
                "application/json",
                etag=replaced.etag if replaced else None,
            )
            # Scanners that read the manifest before this one still download its files.
            before = replaced.manifest.files if replaced and replaced.manifest else ()
            needed = {self._version(file).key for file in (*manifest.files, *before)}
            for stored in await self._storage.list(self._bucket, self._prefix + "files/"):
                if stored.key not in needed:
                    await self._storage.delete_key(self._bucket, stored.key)

    def _version(self, file: SignatureFile) -> ObjectVersion:
        return ObjectVersion(self._bucket, f"{self._prefix}files/{file.sha256}/{file.name}")


@asynccontextmanager
async def _storage_errors() -> AsyncIterator[None]:
    try:
        yield
    except ChangedObjectError as error:
        raise SignatureSourceError("another mirror has published at the same time") from error
    except MissingObjectError as error:
        raise SignatureSourceError(f"not in the bucket: {error}") from error
    except (RetryableError, UnavailableError, OSError) as error:
        raise SignatureSourceError(f"{type(error).__name__}: {error}") from error
