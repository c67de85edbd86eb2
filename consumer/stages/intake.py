"""Binds objects to their assets, once: uploads that S3 announces, and recordings of the webinar service."""

from dataclasses import dataclass

from consumer.queue.in_flight import InFlightMessage
from consumer.queue.outcome import DUPLICATE, IGNORED, STALE, SUCCESS, Outcome
from consumer.stages.runner import StageRunner
from handlers.recording import RecordingHandler
from handlers.results import Noted, Registration
from handlers.upload import asset_of_upload, unwanted_upload
from media.asset import AssetType, Stage
from media.asset_store.assets import AssetStore, Binding, StoredObject
from media.contracts import WebinarRecording
from media.errors import Code, RetryableError, UndecodableError
from media.outbox import Outbox
from media.stage_requests import request
from media.telemetry import UploadCounters


@dataclass(frozen=True, slots=True)
class Intake:
    """Registers and binds. `scan` scans an upload under the same message that announced it."""

    assets: AssetStore
    outbox: Outbox
    scan: StageRunner
    recording: RecordingHandler
    uploads: UploadCounters
    own_bucket: str

    async def upload(self, stored: StoredObject, message: InFlightMessage) -> Outcome:
        """Bind an uploaded object to its asset and scan it.

        Raises UndecodableError for an object that is not ours, and what a stage raises.
        """
        asset_id = asset_of_upload(stored, self.own_bucket)
        if asset_id is None:
            return IGNORED
        sent_at = message.received.sent
        binding, _ = await self.assets.bind(asset_id, stored, note=f"{stored.size} bytes", notified_at=sent_at)
        if binding is Binding.BOUND:
            self.uploads.count(AssetType(stored.version.key.split("/")[1]), stored.size)
        if binding is Binding.UNKNOWN:
            raise UndecodableError(f"no asset has the key {stored.version.key!r}", Code.UNKNOWN_ASSET)
        if binding in {Binding.OTHER, Binding.GONE}:
            unwanted = unwanted_upload(stored, binding)
            if unwanted:
                await self.assets.note(asset_id, unwanted.note.code, unwanted.note.detail, unwanted.effects)
            return STALE
        return await self.scan.run(asset_id, stored.version.version_id, message)

    async def announced(self, recording: WebinarRecording, message: InFlightMessage) -> Outcome:
        """Register a recording as an asset of its host, and ask for its scan.

        Raises UndecodableError, RetryableError and UnavailableError.
        """
        known = await self.assets.get_recording(recording.recording_id)
        result = await self.recording(recording, known, message.trace_id, message.received.sent)
        if isinstance(result, Registration):
            created = await self.assets.create(result.new) if result.new and not known else None
            # Where it was not created, a duplicate of the message was faster.
            asset = known or created or await self.assets.get_recording(recording.recording_id)
            if asset is None:
                raise RetryableError(Code.UNFORESEEN, f"recording {recording.recording_id} was not registered")
            effects, sent_at = [request(Stage.SCAN, asset, version=result.stored.version)], result.sent_at
            binding, rows = await self.assets.bind(
                asset.asset_id, result.stored, effects=effects, note=result.note, notified_at=sent_at
            )
            if binding is Binding.BOUND:
                self.uploads.count(asset.asset_type, result.stored.size)
            await self.outbox.dispatch(rows)
            return SUCCESS if binding is Binding.BOUND else DUPLICATE
        if known:
            await self.outbox.dispatch_pending(known.asset_id)
        if known and isinstance(result, Noted):
            await self.assets.note(known.asset_id, result.note.code, result.note.detail, result.effects)
        return DUPLICATE
