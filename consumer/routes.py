"""The table of routes: each queue's decoder and handler, and the dependencies whose absence pauses it."""

from collections.abc import Collection
from dataclasses import dataclass

from consumer.decoders import (
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
from consumer.queue.executor import RecordHandler
from consumer.queue.in_flight import InFlightMessage, Record
from consumer.queue.outcome import Outcome
from consumer.queue.worker import Route
from consumer.stages.intake import Intake
from consumer.stages.job_events import JobEvents
from consumer.stages.runner import StageRunner
from handlers.transcode.mediaconvert.events import parse_event
from media.errors import Dependency


@dataclass(frozen=True, slots=True)
class Routes:
    """The handlers that the routes lead to. `transcode_needs` are the dependencies of the engine."""

    intake: Intake
    image: StageRunner
    transcode: StageRunner
    job_events: JobEvents
    transcode_needs: Collection[Dependency] = (Dependency.MEDIACONVERT,)

    def routes(self) -> list[Route]:
        clamd, postgres, s3 = Dependency.CLAMD, Dependency.POSTGRES, Dependency.S3
        transcode = [postgres, s3, *self.transcode_needs]
        return [
            Route("uploads", "scan", decode_upload, self._upload, [clamd, postgres, s3], self.intake.regroup),
            Route("images", "image", decode_image, _stage_of(self.image), [postgres, s3]),
            Route("transcodes", "transcode", decode_transcode, _stage_of(self.transcode), transcode),
            Route("transcode-events", "transcode_event", decode_transcode_event, self._event, [postgres, s3]),
            Route("recordings", "recording", decode_recording, self._recording, [postgres, s3]),
        ]

    async def _upload(self, record: Record, message: InFlightMessage) -> Outcome:
        if isinstance(record, ObjectCreated):
            return await self.intake.upload(record.stored, message)
        return await _stage_of(self.intake.scan)(record, message)

    async def _event(self, record: Record, _message: InFlightMessage) -> Outcome:
        if not isinstance(record, TranscodeEventMessage):
            raise TypeError(type(record))
        return await self.job_events.apply(parse_event(record.detail))

    async def _recording(self, record: Record, message: InFlightMessage) -> Outcome:
        if not isinstance(record, RecordingMessage):
            raise TypeError(type(record))
        return await self.intake.announced(record.recording, message)


def _stage_of(runner: StageRunner) -> RecordHandler:
    """Make a handler of stage requests."""

    async def handle(record: Record, message: InFlightMessage) -> Outcome:
        if not isinstance(record, StageMessage):
            raise TypeError(type(record))
        return await runner.run(record.request.asset_id, record.request.version_id, message)

    return handle
