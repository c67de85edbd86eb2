"""What MediaConvert reads: whatever version is current. It must be the one that was scanned, from first to last byte.

A later version of an upload is deleted as soon as it is heard of, and then the bound one is current again: that is
waited for. What a job made meanwhile may be of the other one, and is not used.
"""

from media.asset import Asset, ObjectVersion, TimelineEntry, asset_id_of_key
from media.errors import Code, RejectedError, RetryableError
from media.object_storage import ObjectStorage

GONE_AFTER = 10.0
"""Seconds to wait for a later version to be deleted; its event comes within a second or two."""
CLOCKS = 2.0
"""Seconds that Postgres' clock and ours may differ by."""
LATE_VERSION = "late_version"
"""What the timeline says of a version beside the bound one."""


async def require_bound(storage: ObjectStorage, asset: Asset, bucket: str) -> None:
    """`bucket` is the one in which later versions are deleted.

    Raises RetryableError(source_changed), which counts no attempt, while a later version hides the bound one;
    RejectedError(source_missing or source_changed) when it is gone, or nobody will delete what hides it.
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
            raise RetryableError(Code.SOURCE_CHANGED, why, after=GONE_AFTER, counted=False)
    raise RejectedError(Code.SOURCE_CHANGED, "the object is not the one that was scanned")


def require_undisturbed(timeline: list[TimelineEntry], since: float) -> None:
    """Raises RetryableError(source_changed) when another version was there after `since`, in Unix seconds: the job may
    have read that one.
    """
    if any(entry.code == LATE_VERSION and entry.at.timestamp() > since - CLOCKS for entry in timeline):
        why = "another version was there while the job read"
        raise RetryableError(Code.SOURCE_CHANGED, why, counted=False)
