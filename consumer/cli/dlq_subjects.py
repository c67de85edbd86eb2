"""Finds the assets that a dead letter is about."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

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
from consumer.queue.in_flight import Record
from handlers.transcode.mediaconvert.events import parse_event
from media.asset import asset_id_of_key
from media.errors import UndecodableError

DECODERS: dict[str, Callable[[str], Sequence[Record]]] = {
    "uploads": decode_upload,
    "images": decode_image,
    "transcodes": decode_transcode,
    "transcode-events": decode_transcode_event,
    "recordings": decode_recording,
}


@dataclass(frozen=True, slots=True)
class Subjects:
    """What a dead letter is about: assets, or a recording that may have become one."""

    asset_ids: Sequence[UUID] = ()
    recording_id: str | None = None


def subjects_of(queue: str, body: str) -> Subjects:
    """Find what a message of `queue` is about.

    Nothing when it cannot be read, which may be why it died, and for a queue whose messages name no asset.
    """
    if queue not in DECODERS:
        return Subjects()
    found: list[UUID | None] = []
    recordings: list[str] = []
    try:
        for record in DECODERS[queue](body):
            match record:
                case ObjectCreated():
                    found.append(asset_id_of_key(record.stored.version.key))
                case StageMessage():
                    found.append(record.request.asset_id)
                case TranscodeEventMessage():
                    found.append(parse_event(record.detail).asset_id)
                case RecordingMessage():
                    recordings.append(record.recording.recording_id)
    except UndecodableError:
        return Subjects()
    return Subjects([asset_id for asset_id in found if asset_id], next(iter(recordings), None))
