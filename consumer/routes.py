"""The table of routes: which queue is decoded how, handled by whom, and paused by whose absence."""

from collections.abc import Collection
from dataclasses import dataclass

from consumer.claims import StageRunner
from consumer.deliveries import Delivery, Part
from consumer.envelopes import (
    ObjectCreated,
    RecordingMessage,
    StageMessage,
    TranscodeEventMessage,
    decode_image,
    decode_recording,
    decode_transcode,
    decode_transcode_event,
    decode_upload,
)
from consumer.lane import Route
from consumer.outcomes import DUPLICATE, IGNORED, STALE, SUCCESS, Kind, Outcome
from handlers.recording import RecordingHandler
from handlers.transcode.event_handler import Applied, TranscodeEventHandler
from handlers.transcode.events import parse_event
from media.asset import asset_id_of_key
from media.asset_store.assets import AssetStore, Binding
from media.errors import Code, Dependency, UndecodableError
from media.outbox import Effect, EffectKind

_APPLIED = {
    Applied.CHANGED: SUCCESS,
    Applied.REJECTED: Outcome(Kind.REJECTED),
    Applied.FAILED: SUCCESS,
    Applied.REPEATED: DUPLICATE,
    Applied.STALE: STALE,
    Applied.NOT_OURS: IGNORED,
}


@dataclass(frozen=True, slots=True)
class Handlers:
    """Everything that the routes lead to."""

    assets: AssetStore
    scan: StageRunner
    image: StageRunner
    transcode: StageRunner
    transcode_event: TranscodeEventHandler
    recording: RecordingHandler
    own_bucket: str
    transcode_needs: Collection[Dependency] = (Dependency.MEDIACONVERT,)

    def routes(self) -> list[Route]:
        clamd, postgres, s3 = Dependency.CLAMD, Dependency.POSTGRES, Dependency.S3
        transcode = [postgres, s3, *self.transcode_needs]
        return [
            Route("uploads", "scan", decode_upload, self._upload, [clamd, postgres, s3]),
            Route("images", "image", decode_image, self._image, [postgres, s3]),
            Route("transcodes", "transcode", decode_transcode, self._transcode, transcode),
            Route("transcode-events", "transcode_event", decode_transcode_event, self._event, [postgres, s3]),
            Route("recordings", "recording", decode_recording, self._recording, [postgres, s3]),
        ]

    async def _upload(self, part: Part, delivery: Delivery) -> Outcome:
        if isinstance(part, ObjectCreated):
            return await self._created(part, delivery)
        return await _stage(self.scan, part, delivery)

    async def _image(self, part: Part, delivery: Delivery) -> Outcome:
        return await _stage(self.image, part, delivery)

    async def _transcode(self, part: Part, delivery: Delivery) -> Outcome:
        return await _stage(self.transcode, part, delivery)

    async def _created(self, part: ObjectCreated, delivery: Delivery) -> Outcome:
        """S3 says that something was uploaded: bind it to its asset, once, and scan it."""
        version = part.stored.version
        if version.bucket != self.own_bucket:
            raise UndecodableError(f"bucket {version.bucket!r} is not ours", Code.BUCKET_NOT_ALLOWED)
        asset_id = asset_id_of_key(version.key)
        if asset_id is None:
            return IGNORED
        note, told_at = f"{part.stored.size} bytes", delivery.received.sent
        binding, _ = await self.assets.bind(asset_id, part.stored, note=note, told_at=told_at)
        if binding is Binding.UNKNOWN:
            raise UndecodableError(f"no asset has the key {version.key!r}", Code.UNKNOWN_ASSET)
        if binding in {Binding.OTHER, Binding.GONE}:
            await self._remove(part, binding)
            return STALE
        return await self.scan.run(asset_id, version.version_id, delivery)

    async def _remove(self, part: ObjectCreated, binding: Binding) -> None:
        """An asset has one version; what comes beside it, or after its deletion, goes."""
        version, asset_id = part.stored.version, asset_id_of_key(part.stored.version.key)
        if asset_id is None or not version.version_id:
            return
        body = {"key": version.key, "version_id": version.version_id}
        effect = Effect(EffectKind.DELETE_VERSION, version.bucket, body)
        why = "late_version" if binding is Binding.OTHER else "late_upload"
        await self.assets.note(asset_id, why, version.version_id, [effect])

    async def _event(self, part: Part, _delivery: Delivery) -> Outcome:
        if not isinstance(part, TranscodeEventMessage):
            raise TypeError(type(part))
        return _APPLIED[await self.transcode_event(parse_event(part.detail))]

    async def _recording(self, part: Part, delivery: Delivery) -> Outcome:
        if not isinstance(part, RecordingMessage):
            raise TypeError(type(part))
        registered = await self.recording(part.recording, delivery.trace_id, delivery.received.sent)
        return SUCCESS if registered else DUPLICATE


async def _stage(runner: StageRunner, part: Part, delivery: Delivery) -> Outcome:
    if not isinstance(part, StageMessage):
        raise TypeError(type(part))
    return await runner.run(part.request.asset_id, part.request.version_id, delivery)
