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
    try:
        records = DECODERS[queue](body)
        found = [_subject(record) for record in records]
    except UndecodableError:
        return Subjects()
    recording = next(
        (record.recording.recording_id for record in records if isinstance(record, RecordingMessage)), None
    )
    return Subjects([asset_id for asset_id in found if asset_id], recording)


def _subject(record: Record) -> UUID | None:
    match record:
        case ObjectCreated():
            return asset_id_of_key(record.stored.version.key)
        case StageMessage():
            return record.request.asset_id
        case TranscodeEventMessage():
            return parse_event(record.detail).asset_id
        case _:
            return None
