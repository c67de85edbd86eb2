"""Binds objects to their assets, once: uploads that S3 announces, and recordings of the webinar service."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from consumer.decoders import ObjectCreated
from consumer.queue.in_flight import InFlightMessage
from consumer.queue.outcome import DUPLICATE, IGNORED, REGROUPED, STALE, SUCCESS, Outcome
from consumer.stages.runner import StageRunner
from handlers.recording import RecordingHandler
from handlers.results import Noted, Registration
from handlers.upload import asset_of_upload, unwanted_upload
from media.asset import AssetType, Stage
from media.asset_store.assets import AssetStore, Binding, StoredObject
from media.aws.sqs import MessageQueue, NewMessage
from media.contracts import WebinarRecording
from media.errors import Code, RetryableError, UnavailableError, UndecodableError
from media.outbox import Effect, Outbox
from media.stage_requests import request, scan_of_upload
from media.telemetry import UploadCounters


@dataclass(frozen=True, slots=True)
class Intake:
    """Registers and binds. `scan` scans an upload under the same message that announced it."""

    assets: AssetStore
    outbox: Outbox
    scan: StageRunner
    recording: RecordingHandler
    uploads: UploadCounters
    uploads_queue: MessageQueue
    own_bucket: str

    async def upload(self, stored: StoredObject, message: InFlightMessage) -> Outcome:
        """Bind an uploaded object to its asset and scan it.

        Raises UndecodableError for an object that is not ours, and what a stage raises.
        """
        asset_id = asset_of_upload(stored, self.own_bucket)
        if asset_id is None:
            return IGNORED
        binding = await self._bind(asset_id, stored, message)
        if binding is Binding.UNKNOWN:
            raise UndecodableError(f"no asset has the key {stored.version.key!r}", Code.UNKNOWN_ASSET)
        if binding in {Binding.OTHER, Binding.GONE}:
            unwanted = unwanted_upload(stored, binding)
            if unwanted:
                note, effects = unwanted.note, unwanted.effects
                await self.assets.note_late_version(asset_id, note.code, note.detail, effects)
            return STALE
        return await self.scan.run(asset_id, stored.version.version_id, message)

    async def regroup(self, messages: Sequence[InFlightMessage]) -> list[Outcome | None]:
        """Bind the uploads of a flood, and have their scans requested with the owner as the message group.

        Fair queues then serve other owners first. Returns None for an upload that has to be looked at by itself. A
        repeated message is harmless: the second request finds the scan done or under way.
        """
        found = await asyncio.gather(*map(self.scan_request, messages), return_exceptions=True)
        for error in found:
            if isinstance(error, UnavailableError):
                raise error
        requests = {
            n: NewMessage(json.dumps(request.body), request.group_id)
            for n, request in enumerate(found)
            if isinstance(request, Effect)
        }
        sent = await self.uploads_queue.send_batch(list(requests.values())) if requests else []
        outcomes: list[Outcome | None] = [None] * len(messages)
        for n, was_sent in zip(requests, sent, strict=True):
            outcomes[n] = REGROUPED if was_sent else None
        return outcomes

    async def scan_request(self, message: InFlightMessage) -> Effect | None:
        """Bind an upload; return the request for its scan, or None where that is not all there is to do."""
        (record,) = message.records
        if not isinstance(record, ObjectCreated):
            return None
        version, asset_id = record.stored.version, asset_of_upload(record.stored, self.own_bucket)
        if asset_id is None:
            return None
        binding = await self._bind(asset_id, record.stored, message)
        if binding not in {Binding.BOUND, Binding.SAME}:
            return None
        return scan_of_upload(asset_id, version, record.owner, message.trace_id)

    async def _bind(self, asset_id: UUID, stored: StoredObject, message: InFlightMessage) -> Binding:
        sent_at = message.received.sent
        binding, _ = await self.assets.bind(asset_id, stored, note=f"{stored.size} bytes", notified_at=sent_at)
        if binding is Binding.BOUND:
            self.uploads.count(AssetType(stored.version.key.split("/")[1]), stored.size)
        return binding

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
