"""Registration of the webinar service's recordings as assets of their hosts."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID, uuid5

from handlers.results import Noted, Registration, Repeated
from media.asset import Asset, AssetType, DeliveryClass, ObjectVersion, safe_file_name
from media.asset_store.assets import NewAsset
from media.asset_store.stages import Note
from media.aws.s3 import ObjectStorage
from media.contracts import TITLE_LIMIT, WebinarRecording, make_one_line
from media.errors import Code, RetryableError, UndecodableError

_NAMESPACE = UUID("6b0ff3a4-6d0d-5a58-9d2e-2f0a5e0c7f11")
"""UUID namespace of asset ids. They derive from recording ids, so that a repeated message means the same asset."""


@dataclass(frozen=True, slots=True)
class RecordingHandler:
    """Handler of `webinar.recording`. `buckets` are those that the webinar service may name."""

    storage: ObjectStorage
    buckets: Collection[str]

    async def __call__(
        self, recording: WebinarRecording, known: Asset | None, trace_id: str, sent_at: float = 0.0
    ) -> Registration | Noted | Repeated:
        """Return a registration, the first time. `known` is the asset that this recording id already has.

        `sent_at` is Unix seconds. Raises UndecodableError for a bucket that is not allowed, RetryableError while the
        object does not exist.
        """
        if recording.bucket not in self.buckets:
            raise UndecodableError(f"bucket {recording.bucket!r} is not allowed", Code.BUCKET_NOT_ALLOWED)
        if known and known.version_id is not None:
            if (known.bucket, known.key) == (recording.bucket, recording.key):
                return Repeated()
            return Noted(Note("recording_conflict", f"announced again as {recording.bucket}/{recording.key}"))
        version = ObjectVersion(recording.bucket, recording.key, recording.version_id or "")
        stored = await self.storage.head(version)
        if stored is None:
            raise RetryableError(Code.SOURCE_MISSING, f"{recording.key} is not in {recording.bucket}")
        title = make_one_line(recording.title or "")
        new = NewAsset(
            asset_id=uuid5(_NAMESPACE, recording.recording_id),
            owner_id=recording.host_id,
            asset_type=AssetType.VIDEO,
            delivery=DeliveryClass.WEBINAR_VOD,
            content_type=recording.content_type or "video/mp4",
            original_filename=safe_file_name(recording.key.rsplit("/", 1)[-1]),
            bucket=recording.bucket,
            key=recording.key,
            title=title[:TITLE_LIMIT] or None,
            webinar_id=recording.webinar_id,
            recording_id=recording.recording_id,
            recorded_at=recording.recorded_at,
            trace_id=trace_id,
            external_id=recording.external_id,
            metadata=recording.metadata or {},
        )
        return Registration(stored, "recording", None if known else new, sent_at)
