"""Build the message that asks for one stage of an asset."""

from uuid import UUID

from media.asset import Asset, ObjectVersion, Stage
from media.contracts import ImageRequested, ScanRequested, StageRequested, TranscodeRequested
from media.outbox import Effect

QUEUE_OF = {Stage.SCAN: "uploads", Stage.IMAGE: "images", Stage.TRANSCODE: "transcodes"}
"""The queue that a stage's requests are sent to."""
_MESSAGE_OF: dict[Stage, type[StageRequested]] = {
    Stage.SCAN: ScanRequested,
    Stage.IMAGE: ImageRequested,
    Stage.TRANSCODE: TranscodeRequested,
}


def request(stage: Stage, asset: Asset, *, version: ObjectVersion | None = None) -> Effect:
    """Return the effect that sends the request for `stage` of `asset`.

    It names the bound version, or `version` where the asset is being bound to it, and carries the asset's own trace id,
    so that everything from the upload to the last rendition is one trace. The owner is the message's tenant.
    """
    source = version or asset.source
    message = _MESSAGE_OF[stage](
        asset_id=asset.asset_id,
        bucket=source.bucket,
        key=source.key,
        version_id=source.version_id,
        trace_id=asset.trace_id,
    )
    return Effect.send(QUEUE_OF[stage], message, owner_id=asset.owner_id)


def scan_of_upload(asset_id: UUID, version: ObjectVersion, owner_id: str, trace_id: str) -> Effect:
    """Return the effect that asks for the scan of an upload that has just been bound to its asset.

    The trace is the notification's. The scan goes on with the asset's own.
    """
    message = ScanRequested(
        asset_id=asset_id, bucket=version.bucket, key=version.key, version_id=version.version_id, trace_id=trace_id
    )
    return Effect.send(QUEUE_OF[Stage.SCAN], message, owner_id=owner_id)
