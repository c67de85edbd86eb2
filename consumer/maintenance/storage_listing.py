"""List the objects of the buckets asset by asset, in one pass, beside the assets that the database knows."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self
from uuid import UUID

from media.asset import OUTPUT_ROOTS, OWNER_ID, AssetType, Stage, unmoved
from media.aws.s3 import ObjectStorage, StoredVersion

UPLOADS = "uploads"


@dataclass(frozen=True, slots=True, order=True)
class AssetPath:
    """The place of an asset's objects: `type/owner/id`, below `uploads/` and below each root of outputs."""

    text: str

    @property
    def asset_type(self) -> AssetType:
        return AssetType(self.text.split("/")[0])

    @property
    def owner_id(self) -> str:
        return self.text.split("/")[1]

    @property
    def asset_id(self) -> UUID:
        return UUID(self.text.split("/")[2])

    @classmethod
    def of_key(cls, key: str) -> Self | None:
        """Return the path of a key, or None when this service did not make the key."""
        match key.split("/"):
            case [_, kind, owner, asset_id, _, *_] if kind in set(AssetType) and OWNER_ID.fullmatch(owner):
                try:
                    ours = str(UUID(asset_id)) == asset_id
                except ValueError:
                    return None
                return cls(f"{kind}/{owner}/{asset_id}") if ours else None
        return None


@dataclass(slots=True)
class Outputs:
    """What one attempt of a stage wrote, or a change of delivery copied. `newest` is when its latest object came."""

    stage: Stage
    attempt: int
    newest: datetime


@dataclass(slots=True)
class StoredAsset:
    """Everything in the buckets that belongs to an asset.

    `uploads` holds all versions, newest first. `outputs` maps a prefix to the attempt that wrote below it, `current`
    holds the keys below such prefixes. `others` are further objects, which this version does not know.
    """

    path: AssetPath
    uploads: list[StoredVersion] = field(default_factory=list)
    outputs: dict[str, Outputs] = field(default_factory=dict)
    current: set[str] = field(default_factory=set)
    quarantined: StoredVersion | None = None
    others: int = 0

    @property
    def is_empty(self) -> bool:
        return not (self.uploads or self.outputs or self.others)

    @property
    def objects(self) -> int:
        return len(self.uploads) + len(self.current) + self.others

    def attempts(self) -> dict[Stage, int]:
        """Return the highest attempt of each stage that wrote something."""
        highest: dict[Stage, int] = {}
        for outputs in self.outputs.values():
            highest[outputs.stage] = max(outputs.attempt, highest.get(outputs.stage, 0))
        return highest

    def add(self, entry: "_Entry") -> None:
        """Count an object in. An entry of a row alone adds nothing."""
        version = entry.version
        if version is None:
            return
        root, _, _, _, folder, *rest = version.key.split("/")
        stage, _, attempt = unmoved(folder).rpartition("-")
        is_output = root in OUTPUT_ROOTS and rest and stage in set(Stage) and attempt.isdecimal()
        if entry.in_quarantine:
            self.quarantined = self.quarantined or version
        elif root == UPLOADS:
            self.uploads.append(version)
        elif is_output:
            prefix = f"{root}/{self.path.text}/{folder}/"
            outputs = self.outputs.setdefault(prefix, Outputs(Stage(stage), int(attempt), version.modified_at))
            outputs.newest = max(outputs.newest, version.modified_at)
            if version.is_current:
                self.current.add(version.key)
        else:
            self.others += 1


@dataclass(frozen=True, slots=True)
class _Entry:
    """An object below an asset's path, or a row alone (no `version`)."""

    path: AssetPath
    version: StoredVersion | None = None
    in_quarantine: bool = False


@dataclass(frozen=True, slots=True)
class StorageListing:
    """Lists the objects of assets in our bucket, and those in quarantine."""

    storage: ObjectStorage
    bucket: str
    quarantine_bucket: str | None

    async def assets(self, known: AsyncGenerator[str]) -> AsyncGenerator[StoredAsset]:
        """Yield every asset that has an object or is `known` (paths in S3's order), with its objects.

        The listings run side by side in the same order, so no more than a page of each is in memory. By the time that
        an asset is yielded, it may have changed: `look` before something is done about it.
        """

        async def rows() -> AsyncGenerator[_Entry]:
            async for path in known:
                yield _Entry(AssetPath(path))

        async with AsyncExitStack() as stack:
            await stack.enter_async_context(aclosing(known))
            sources = [rows(), *(self._objects(bucket, f"{root}/") for bucket, root in self._roots())]
            for source in sources:
                await stack.enter_async_context(aclosing(source))
            heads = [await anext(source, None) for source in sources]
            while present := [head for head in heads if head]:
                found = StoredAsset(min(head.path for head in present))
                for number, source in enumerate(sources):
                    while (head := heads[number]) and head.path == found.path:
                        found.add(head)
                        heads[number] = await anext(source, None)
                yield found

    async def read(self, path: AssetPath) -> StoredAsset:
        """Return the objects of one asset as they are now."""
        found = StoredAsset(path)
        for bucket, root in self._roots():
            async for entry in self._objects(bucket, f"{root}/{path.text}/"):
                found.add(entry)
        return found

    def _roots(self) -> list[tuple[str, str]]:
        own = [(self.bucket, root) for root in (UPLOADS, *OUTPUT_ROOTS)]
        return [*own, (self.quarantine_bucket, UPLOADS)] if self.quarantine_bucket else own

    async def _objects(self, bucket: str, prefix: str) -> AsyncGenerator[_Entry]:
        async for version in self.storage.versions(bucket, prefix):
            if path := AssetPath.of_key(version.key):
                yield _Entry(path, version, bucket != self.bucket)
