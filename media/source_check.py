"""Make sure that a stage reads the version that was bound and scanned, from the first to the last byte."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import NoReturn

from media.asset import Asset, ObjectVersion, TimelineEntry, asset_id_of_key
from media.asset_store.assets import StoredObject
from media.aws.s3 import ChangedObjectError, MissingObjectError, ObjectStorage
from media.errors import Code, RejectedError, RetryableError

REMOVAL_DELAY = 10.0
"""Seconds to wait for a later version to be deleted. Its event comes within a second or two."""
CLOCK_SKEW = 2.0
"""Seconds that Postgres' clock and ours may differ by."""
LATE_VERSION = "late_version"
"""Timeline code of a version that was uploaded after the bound one."""


async def require_bound_version(storage: ObjectStorage, asset: Asset) -> StoredObject:
    """Return the bound version as S3 describes it, whichever version is current.

    Raises RejectedError(source_missing) when it is gone, RejectedError(source_changed) when it has another ETag.
    """
    with reject_missing_source():
        found = await storage.head(asset.source)
        if found is None:
            raise MissingObjectError(asset.key)
        if asset.etag and found.etag != asset.etag:
            raise ChangedObjectError(asset.key)
        return found


@contextmanager
def reject_missing_source() -> Iterator[None]:
    """Turn MissingObjectError and ChangedObjectError into RejectedError."""
    try:
        yield
    except MissingObjectError as error:
        raise RejectedError(Code.SOURCE_MISSING, "the uploaded version is not in the bucket any more") from error
    except ChangedObjectError as error:
        raise_changed(error)


def raise_changed(cause: Exception | None = None) -> NoReturn:
    """Raise RejectedError(source_changed)."""
    raise RejectedError(Code.SOURCE_CHANGED, "the object is not the one that was scanned") from cause


async def require_bound_is_current(storage: ObjectStorage, asset: Asset, bucket: str) -> None:
    """Make sure that the bound version is the current one: MediaConvert reads a key, and takes no version.

    This service deletes later versions in `bucket` as soon as S3's event comes. Raises RetryableError(source_changed),
    which counts no attempt, while such a version hides the bound one. Raises RejectedError(source_missing or
    source_changed) when the bound one is gone, or nobody will delete the version that hides it.
    """
    current = await storage.head(ObjectVersion(asset.bucket, asset.key))
    if current is None:
        raise RejectedError(Code.SOURCE_MISSING, "the object is not in the bucket any more")
    if current.version.version_id == (asset.version_id or "") and (not asset.etag or current.etag == asset.etag):
        return
    if asset.version_id and asset.bucket == bucket and asset_id_of_key(asset.key) == asset.asset_id:
        bound = await storage.head(asset.source)
        if bound is not None and (not asset.etag or bound.etag == asset.etag):
            why = "a later version hides the one that was scanned"
            raise RetryableError(Code.SOURCE_CHANGED, why, retry_after=REMOVAL_DELAY, counts_as_attempt=False)
    raise_changed()


def require_undisturbed(timeline: Sequence[TimelineEntry], late_version_at: datetime | None, since: float) -> None:
    """Make sure that no other version was uploaded after `since` (Unix seconds), while a job read the current one.

    `late_version_at` is when one was last told of, also where the timeline has no entry for it.
    Raises RetryableError(source_changed): the job may have read the other version.
    """
    # A consumer of the version before, which may run beside this one, tells by the timeline alone.
    times = [entry.at for entry in timeline if entry.code == LATE_VERSION]
    times += [late_version_at] if late_version_at else []
    if any(at.timestamp() > since - CLOCK_SKEW for at in times):
        raise RetryableError(Code.SOURCE_CHANGED, "another version was there while the job read")
