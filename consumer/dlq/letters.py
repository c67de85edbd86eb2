"""Dead letters as an operator sees them: why they died, how long ago, and which assets they are about."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from consumer.deliveries import Part
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
from handlers.transcode.events import parse_event
from media.asset import asset_id_of_key
from media.errors import UndecodableError
from media.message_queue import Received

MOVED_BY_SQS = "max_receives"
"""What stands for the error of a letter that SQS moved itself: it was received too often, and nobody wrote why."""

_IDENTIFIER = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|0x[0-9a-f]+", re.IGNORECASE)

DECODERS: dict[str, Callable[[str], Sequence[Part]]] = {
    "uploads": decode_upload,
    "images": decode_image,
    "transcodes": decode_transcode,
    "transcode-events": decode_transcode_event,
    "recordings": decode_recording,
}


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message of a dead-letter queue. Times are Unix seconds; `died` is when it was sent to this queue."""

    received: Received
    error: str
    reason: str
    source: str
    first_received: float
    died: float

    @property
    def kind(self) -> str:
        """The reason without what differs from one asset to the next, so that equals group."""
        return _IDENTIFIER.sub("…", self.reason)


@dataclass(frozen=True, slots=True)
class Subjects:
    """What a letter is about: assets, or a recording that may have become one."""

    asset_ids: Sequence[UUID] = ()
    recording_id: str | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant. `reason` is an error's code or a part of the reason; `older_than` is seconds."""

    reason: str | None = None
    older_than: float | None = None

    @property
    def everything(self) -> bool:
        return self.reason is None and self.older_than is None

    def matches(self, letter: DeadLetter, now: float) -> bool:
        if self.older_than is not None and now - letter.died < self.older_than:
            return False
        return self.reason is None or self.reason == letter.error or self.reason in letter.reason


def letter_of(received: Received) -> DeadLetter:
    """Reads what the consumer wrote on the message when it gave up on it."""
    first = _attribute(received, "first-received")
    return DeadLetter(
        received=received,
        error=_attribute(received, "error") or MOVED_BY_SQS,
        reason=_attribute(received, "reason"),
        source=_attribute(received, "source-queue"),
        first_received=_seconds(first) or received.sent,
        died=received.sent,
    )


def subjects_of(queue: str, body: str) -> Subjects:
    """What a message of `queue` is about; nothing when it cannot be read, which may be why it died."""
    try:
        parts = DECODERS[queue](body)
        found = [_subject(part) for part in parts]
    except UndecodableError:
        return Subjects()
    recording = next((part.recording.recording_id for part in parts if isinstance(part, RecordingMessage)), None)
    return Subjects([asset_id for asset_id in found if asset_id], recording)


def _subject(part: Part) -> UUID | None:
    match part:
        case ObjectCreated():
            return asset_id_of_key(part.stored.version.key)
        case StageMessage():
            return part.request.asset_id
        case TranscodeEventMessage():
            return parse_event(part.detail).asset_id
        case _:
            return None


def _attribute(received: Received, name: str) -> str:
    return str(received.attributes.get(name, {}).get("StringValue", ""))


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
