"""Registers the webinar service's recordings as assets of their hosts, and asks for their scan."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID, uuid5

from media.asset import Asset, AssetType, Delivery, ObjectVersion, safe_file_name
from media.asset_store.assets import AssetStore, Binding, NewAsset, StoredObject
from media.contracts import ScanRequested, WebinarRecording
from media.errors import Code, RetryableError, UndecodableError
from media.object_storage import ObjectStorage
from media.outbox import Effect, Outbox

_NAMESPACE = UUID("6b0ff3a4-6d0d-5a58-9d2e-2f0a5e0c7f11")
"""Asset ids of recordings are made from their recording ids, so that a repeated message means the same asset."""


@dataclass(frozen=True, slots=True)
class RecordingHandler:
    """Handles `webinar.recording`. `buckets` are those that the webinar service may name."""

    assets: AssetStore
    storage: ObjectStorage
    outbox: Outbox
    buckets: Collection[str]

    async def __call__(self, recording: WebinarRecording, trace_id: str, told_at: float = 0.0) -> bool:
        """Register a recording once. False when it was registered before. `told_at`: when its message was sent.

        Raises UndecodableError for a bucket that is not allowed, RetryableError while the object is not there.
        """
        if recording.bucket not in self.buckets:
            raise UndecodableError(f"bucket {recording.bucket!r} is not allowed", Code.BUCKET_NOT_ALLOWED)
        known = await self.assets.get_recording(recording.recording_id)
        if known and known.version_id is not None:
            await self._again(known, recording)
            return False
        stored = await self._find(recording)
        asset = known or await self._register(recording, trace_id)
        return await self._bind(asset, stored, trace_id, told_at)

    async def _find(self, recording: WebinarRecording) -> StoredObject:
        version = ObjectVersion(recording.bucket, recording.key, recording.version_id or "")
        stored = await self.storage.head(version)
        if stored is None:
            raise RetryableError(Code.SOURCE_MISSING, f"{recording.key} is not in {recording.bucket}")
        return stored

    async def _register(self, recording: WebinarRecording, trace_id: str) -> Asset:
        name = recording.key.rsplit("/", 1)[-1]
        new = NewAsset(
            asset_id=uuid5(_NAMESPACE, recording.recording_id),
            owner_id=recording.host_id,
            asset_type=AssetType.VIDEO,
            delivery=Delivery.WEBINAR_VOD,
            content_type=recording.content_type or "video/mp4",
            original_filename=safe_file_name(name),
            bucket=recording.bucket,
            key=recording.key,
            title=recording.title,
            webinar_id=recording.webinar_id,
            recording_id=recording.recording_id,
            recorded_at=recording.recorded_at,
            trace_id=trace_id,
        )
        asset = await self.assets.create(new) or await self.assets.get_recording(recording.recording_id)
        if asset is None:
            raise RetryableError(Code.UNFORESEEN, f"recording {recording.recording_id} was not registered")
        return asset

    async def _bind(self, asset: Asset, stored: StoredObject, trace_id: str, told_at: float) -> bool:
        request = ScanRequested(
            asset_id=asset.asset_id,
            bucket=stored.version.bucket,
            key=stored.version.key,
            version_id=stored.version.version_id,
            trace_id=trace_id,
        )
        effect = Effect.send("uploads", request, owner_id=asset.owner_id)
        binding, rows = await self.assets.bind(
            asset.asset_id, stored, effects=[effect], note="recording", told_at=told_at
        )
        await self.outbox.carry_out(rows)
        return binding is Binding.BOUND

    async def _again(self, known: Asset, recording: WebinarRecording) -> None:
        """The same recording once more: leftovers are sent; another object under its id is only noted."""
        await self.outbox.carry_out_of(known.asset_id)
        if (known.bucket, known.key) != (recording.bucket, recording.key):
            detail = f"announced again as {recording.bucket}/{recording.key}"
            await self.assets.note(known.asset_id, "recording_conflict", detail)
