"""A folder instead of S3 and no Postgres, so that the benchmark measures the engine alone."""

import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast, override

from types_aiobotocore_s3 import S3Client

from media.asset import ObjectVersion
from media.asset_store.assets import StoredObject
from media.asset_store.database import Database
from media.asset_store.stages import Fence, Note, StageStore
from media.aws.s3 import CHUNK, ObjectStorage, ServedAs, StoredFile
from media.aws.s3_transfer import ObjectTransfer


class DiskStorage(ObjectStorage):
    """Stores small objects in a folder. Keys are paths."""

    def __init__(self, root: Path) -> None:
        super().__init__(cast(S3Client, None))
        self.root = root

    async def head(self, version: ObjectVersion) -> StoredObject | None:
        return StoredObject(version, "etag", _size(self.root / version.key))

    async def list(self, bucket: str, prefix: str, *, limit: int = 10_000) -> list[StoredFile]:
        del bucket
        return _files(self.root, prefix)[:limit]

    async def read(self, version: ObjectVersion, *, limit: int) -> bytes:
        return _bytes(self.root / version.key)[:limit]

    async def delete_key(self, bucket: str, key: str) -> int:
        del bucket
        (self.root / key).unlink()
        return 1

    async def write(self, bucket: str, key: str, body: bytes, content_type: str, *, cache: str = "") -> None:
        del bucket, content_type, cache
        _write(self.root / key, body)


class DiskTransfer(ObjectTransfer):
    """Transfers large objects from and to the folder, in pieces of the same size as with S3."""

    def __init__(self, root: Path) -> None:
        super().__init__(cast(S3Client, None))
        self.root = root

    @asynccontextmanager
    async def read_range(
        self, version: ObjectVersion, first: int, last: int, *, etag: str | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        del etag
        yield _pieces(self.root / version.key, first, last)

    async def upload(self, bucket: str, key: str, path: Path, served: str | ServedAs) -> None:
        del bucket, served
        _copy(path, self.root / key)


class NoStages(StageStore):
    """A stage store that accepts submissions and progress, and stores nothing."""

    def __init__(self) -> None:
        super().__init__(cast(Database, None))

    @override
    async def record_submission(self, fence: Fence, plan: Mapping[str, Any], notes: Sequence[Note] = ()) -> None:
        del fence, plan, notes

    @override
    async def record_progress(self, fence: Fence, percent: int) -> None:
        del fence, percent


async def _pieces(path: Path, first: int, last: int) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        file.seek(first)
        while (left := last + 1 - file.tell()) > 0:
            yield file.read(min(CHUNK, left))


def _size(path: Path) -> int:
    return path.stat().st_size


def _bytes(path: Path) -> bytes:
    return path.read_bytes()


def _files(root: Path, prefix: str) -> list[StoredFile]:
    found = [path for path in (root / prefix).rglob("*") if path.is_file()]
    return [StoredFile(str(path.relative_to(root)), path.stat().st_size) for path in found]


def _write(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
