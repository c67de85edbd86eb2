"""S3's notice of an upload: the asset that the object belongs to, and the removal of an unwanted object."""

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
    """Return the id of the asset that an object in our `bucket` was uploaded for; None for a key of another kind.

    Raises UndecodableError for an object in another bucket.
    """
    version = stored.version
    if version.bucket != bucket:
        raise UndecodableError(f"bucket {version.bucket!r} is not ours", Code.BUCKET_NOT_ALLOWED)
    return asset_id_of_key(version.key)


def unwanted_upload(stored: StoredObject, binding: Binding) -> Noted | None:
    """Return a removal for a version that is not the bound one, or that came after the asset was deleted.

    Returns None without a version id: the object under the key may be the bound one.
    """
    version = stored.version
    if not version.version_id:
        return None
    removal = Effect(EffectKind.DELETE_VERSION, version.bucket, {"key": version.key, "version_id": version.version_id})
    code = LATE_VERSION if binding is Binding.OTHER else LATE_UPLOAD
    return Noted(Note(code, version.version_id), [removal])
