"""How the outbox's effects are carried out. Each may happen twice, and twice is as good as once."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from media.asset import ObjectVersion
from media.asset_store.assets import AssetStore
from media.errors import Code, RetryableError
from media.message_queue import MessageQueues
from media.object_storage import MissingObjectError, ObjectStorage
from media.outbox import Carry, EffectKind, OutboxRow
from media.transcoding import Transcoder

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Effects:
    """The carriers, by kind. `own_buckets` are the only ones in which anything is removed."""

    queues: MessageQueues
    storage: ObjectStorage
    transcoder: Transcoder
    assets: AssetStore
    own_buckets: frozenset[str]

    def carriers(self) -> dict[EffectKind, Carry]:
        return {
            EffectKind.SEND: self.queues.send_rows,
            EffectKind.QUARANTINE: self._quarantine,
            EffectKind.DELETE_PREFIX: self._delete_prefix,
            EffectKind.DELETE_VERSION: self._delete_version,
            EffectKind.DELETE_KEY: self._delete_key,
            EffectKind.CANCEL_JOB: self._cancel_job,
        }

    async def _quarantine(self, rows: Sequence[OutboxRow]) -> None:
        """Copy, verify, remove. A version that is gone was moved before."""
        for row in rows:
            body = row.effect.body
            source = ObjectVersion(str(body["bucket"]), str(body["key"]), str(body.get("version_id") or ""))
            self._require_own(source.bucket)
            original = await self.storage.head(source)
            if original is None:
                continue
            target = ObjectVersion(row.effect.target, source.key)
            await self._copy(source, target)
            copied = await self.storage.head(target)
            if copied is None or copied.size != original.size:
                raise RetryableError(Code.STORAGE_ERROR, f"{source.key} did not arrive in quarantine")
            await self.storage.delete_version(source)
            await self.assets.note(row.asset_id, "quarantined")

    async def _copy(self, source: ObjectVersion, target: ObjectVersion) -> None:
        try:
            await self.storage.copy(source, target.bucket, target.key)
        except MissingObjectError as error:
            raise RetryableError(Code.STORAGE_ERROR, f"{source.key}: {error}") from error

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
