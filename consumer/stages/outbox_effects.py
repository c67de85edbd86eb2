"""Dispatches the outbox's effects. Each may happen twice, and each is idempotent."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from media.asset import ObjectVersion
from media.asset_store.assets import AssetStore, StoredObject
from media.aws.mediaconvert import Transcoder
from media.aws.s3 import MissingObjectError, ObjectStorage
from media.aws.sqs import MessageQueues
from media.cdn.invalidations import Invalidations
from media.errors import Code, RetryableError
from media.outbox import Dispatch, EffectKind, OutboxRow

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OutboxEffects:
    """The dispatchers, by kind of effect. `own_buckets` are the only ones in which anything is removed."""

    queues: MessageQueues
    storage: ObjectStorage
    transcoder: Transcoder
    assets: AssetStore
    own_buckets: frozenset[str]
    invalidations: Invalidations

    def dispatchers(self) -> dict[EffectKind, Dispatch]:
        return {
            EffectKind.SEND: self.queues.send_rows,
            EffectKind.QUARANTINE: self._quarantine,
            EffectKind.DELETE_PREFIX: self._delete_prefix,
            EffectKind.DELETE_VERSION: self._delete_version,
            EffectKind.DELETE_KEY: self._delete_key,
            EffectKind.CANCEL_JOB: self._cancel_job,
            EffectKind.INVALIDATE: self.invalidations.dispatch,
        }

    async def _quarantine(self, rows: Sequence[OutboxRow]) -> None:
        """Copy, verify and remove an object, and note it. A version that is gone was moved before."""
        for row in rows:
            body = row.effect.body
            source = ObjectVersion(str(body["bucket"]), str(body["key"]), str(body.get("version_id") or ""))
            self._require_own(source.bucket)
            target = ObjectVersion(row.effect.target, source.key)
            original = await self.storage.head(source)
            if original is not None:
                await self._copy(original, target)
                await self.storage.delete_version(source)
            elif await self.storage.head(target) is None:
                continue  # its owner deleted it before it could be moved
            entries = await self.assets.timeline(row.asset_id)
            if not any(entry.code == "quarantined" for entry in entries):
                await self.assets.note(row.asset_id, "quarantined", f"{target.bucket}/{target.key}")

    async def _copy(self, original: StoredObject, target: ObjectVersion) -> None:
        """Copy an object. Raises RetryableError unless the copy is identical.

        Equal ETags prove that. A copy made in parts, or under another key, has another ETag: both are read then.
        """
        try:
            await self.storage.copy(original.version, target.bucket, target.key)
            copied = await self.storage.head(target)
            if copied is None or copied.size != original.size:
                raise RetryableError(Code.STORAGE_ERROR, f"{target.key} did not arrive in {target.bucket}")
            same = copied.etag == original.etag or (
                await self.storage.sha256(original.version) == await self.storage.sha256(copied.version)
            )
            if not same:
                raise RetryableError(Code.STORAGE_ERROR, f"{target.key} did not arrive in {target.bucket}")
        except MissingObjectError as error:
            raise RetryableError(Code.STORAGE_ERROR, f"{target.key}: {error}") from error

    async def _delete_prefix(self, rows: Sequence[OutboxRow]) -> None:
        for row in rows:
            self._require_own(row.effect.target)
            count = await self.storage.delete_prefix(row.effect.target, str(row.effect.body["prefix"]))
            if count:
                log.info("effects.prefix_removed", asset_id=str(row.asset_id), objects=count)

    async def _delete_version(self, rows: Sequence[OutboxRow]) -> None:
        for row in rows:
            self._require_own(row.effect.target)
            body = row.effect.body
            version = ObjectVersion(row.effect.target, str(body["key"]), str(body["version_id"]))
            await self.storage.delete_version(version)

    async def _delete_key(self, rows: Sequence[OutboxRow]) -> None:
        for row in rows:
            self._require_own(row.effect.target)
            await self.storage.delete_key(row.effect.target, str(row.effect.body["key"]))

    async def _cancel_job(self, rows: Sequence[OutboxRow]) -> None:
        for row in rows:
            await self.transcoder.cancel(row.effect.target)

    def _require_own(self, bucket: str) -> None:
        if bucket not in self.own_buckets:
            raise ValueError(f"{bucket} is not ours: nothing is removed there")
