"""Read S3's news of an upload: which asset the object belongs to, and what becomes of one that comes too late."""

from uuid import UUID

from handlers.results import Noted
from media.asset import asset_id_of_key
from media.asset_store.assets import Binding, StoredObject
from media.asset_store.stages import Note
from media.errors import Code, UndecodableError
from media.outbox import Effect, EffectKind
from media.source_check import LATE_VERSION

LATE_UPLOAD = "late_upload"
"""Timeline code of an object that was uploaded after its asset was deleted."""


def asset_of_upload(stored: StoredObject, bucket: str) -> UUID | None:
    """Return the id of the asset that an object in our `bucket` was uploaded for; None where its key is no upload's.

    Raises UndecodableError for an object in another bucket.
    """
    version = stored.version
    if version.bucket != bucket:
        raise UndecodableError(f"bucket {version.bucket!r} is not ours", Code.BUCKET_NOT_ALLOWED)
    return asset_id_of_key(version.key)


def unwanted_upload(stored: StoredObject, binding: Binding) -> Noted | None:
    """Remove what was uploaded beside the bound version, or after the asset was deleted.

    Nothing is removed without a version id: the bound object itself may lie under the key.
    """
    version = stored.version
    if not version.version_id:
        return None
    removal = Effect(EffectKind.DELETE_VERSION, version.bucket, {"key": version.key, "version_id": version.version_id})
    code = LATE_VERSION if binding is Binding.OTHER else LATE_UPLOAD
    return Noted(Note(code, version.version_id), [removal])
