"""Messages of the queues, as pydantic models. Unknown fields are ignored, known ones are checked."""

import json
import unicodedata
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

YEARS = range(1970, 2200)
"""Years of a time in a message. Others are a mistake, and near the calendar's ends a time zone overflows."""


def _storable(value: datetime) -> datetime:
    """Require a year within YEARS, and take a time without a zone as UTC."""
    if value.year not in YEARS:
        raise ValueError(f"a year between {YEARS.start} and {YEARS.stop - 1}")
    return value if value.tzinfo else value.replace(tzinfo=UTC)


# Neither Postgres nor S3 takes a NUL. With a pattern, pydantic also refuses half of a surrogate pair.
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$")]
"""Text without control characters."""
Name = Annotated[Line, StringConstraints(min_length=1, max_length=200)]
Time = Annotated[datetime, AfterValidator(_storable), Field(json_schema_extra={"pattern": r"^(19[7-9]\d|2[01]\d\d)-"})]
OwnerId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Key = Annotated[Text, StringConstraints(min_length=1, max_length=1024)]
VersionId = Annotated[Line, StringConstraints(max_length=1024)]
TITLE_LIMIT = 255
"""Characters of an asset's title."""
METADATA_KEYS = 50
METADATA_BYTES = 4096
"""Bytes of an asset's metadata as JSON without white space."""


_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")
"""Characters of category Cf that belong to the text: they join emoji and words of some scripts (UAX 31, 2.3)."""
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Fillers of Hangul and the empty Braille pattern: letters and symbols by category, but invisible."""


def remove_unprintable(value: str) -> str:
    """Remove control characters, format characters that hide text or change its direction, and white space around."""
    if value.isprintable():  # as most are: none of these
        return value.strip()
    return "".join(c for c in value if c in _JOINERS or unicodedata.category(c) not in _UNPRINTABLE).strip()


def make_one_line(value: str) -> str:
    """Remove what `remove_unprintable` removes, but put a space where a line break or a tab parts words."""
    return remove_unprintable(" ".join(value.split()))


def require_visible(value: str) -> str:
    """Return a text that shows at least one character. Raises ValueError."""
    if not any(unicodedata.category(c)[0] in "LNPS" and c not in _BLANK for c in value):
        raise ValueError("must have at least one visible character")
    return value


def check_printable(value: str) -> str:
    """Return a text that has only printable characters, and a visible one. Raises ValueError."""
    if not value.isprintable():
        raise ValueError("only printable characters")
    return require_visible(value)


def check_metadata(value: dict[str, str]) -> dict[str, str]:
    """Return metadata that are within their limits. Raises ValueError."""
    if len(value) > METADATA_KEYS:
        raise ValueError(f"at most {METADATA_KEYS} keys")
    if len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()) > METADATA_BYTES:
        raise ValueError(f"at most {METADATA_BYTES} bytes as JSON")
    return value


ExternalId = Annotated[Line, StringConstraints(min_length=1, max_length=200), AfterValidator(check_printable)]
MetadataKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,40}$")]


def _texts_by_key(most: int, kinds: str | list[str]) -> WithJsonSchema:
    """Describe an object of texts. Written out, as generated clients know no `patternProperties`."""
    text = {"type": kinds, "pattern": r"^[^\x00]*$"}
    names = {"pattern": "^[A-Za-z0-9_.-]{1,40}$"}
    return WithJsonSchema(
        {"type": "object", "maxProperties": most, "propertyNames": names, "additionalProperties": text}
    )


Metadata = Annotated[dict[MetadataKey, Text], AfterValidator(check_metadata), _texts_by_key(METADATA_KEYS, "string")]
MetadataPatch = Annotated[
    dict[MetadataKey, Text | None],
    Field(max_length=2 * METADATA_KEYS),
    _texts_by_key(2 * METADATA_KEYS, ["string", "null"]),
]
"""Metadata to merge with those that are there: all of them may be replaced by as many others."""


class Message(BaseModel):
    """Base of all messages."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class StageRequested(Message):
    """Request for one stage of one asset, on exactly one version of its object."""

    version: Literal[1] = 1
    asset_id: UUID
    bucket: Name
    key: Key
    version_id: VersionId = ""
    trace_id: Text = ""


class ScanRequested(StageRequested):
    type: Literal["scan.requested"] = "scan.requested"


class ImageRequested(StageRequested):
    type: Literal["image.requested"] = "image.requested"


class TranscodeRequested(StageRequested):
    type: Literal["transcode.requested"] = "transcode.requested"


class WebinarRecording(Message):
    """Message of the webinar service (MS-6) when a recording lies in its bucket.

    `recording_id` makes it idempotent. `host_id` becomes the owner. `external_id` and `metadata` came with version 2.
    """

    type: Literal["webinar.recording"] = "webinar.recording"
    version: Literal[1, 2] = 1
    recording_id: Name
    webinar_id: Name
    host_id: OwnerId
    bucket: Name
    key: Key
    version_id: VersionId | None = None
    title: Annotated[Text, StringConstraints(max_length=500)] | None = None
    recorded_at: Time | None = None
    content_type: Annotated[Line, StringConstraints(max_length=100)] | None = None
    external_id: ExternalId | None = None
    metadata: Metadata | None = None

    @model_validator(mode="before")
    @classmethod
    def _know_the_version(cls, given: Any) -> Any:
        """Drop from version 1 what it does not know, and refuse what version 2 would lose."""
        if not isinstance(given, dict):
            return given
        if given.get("version", 1) == 1:
            return {name: value for name, value in given.items() if name not in {"external_id", "metadata"}}
        if given.get("captions"):
            # A recording without its captions would look complete. As a dead letter it waits for who takes them.
            raise ValueError("captions are not taken yet")
        return given


class TranscodeProgress(Message):
    """An event of the transcoder about one job, without its envelope."""

    job_id: Name
    asset_id: UUID
    attempt: int
    status: Literal[
        "PROGRESSING", "INPUT_INFORMATION", "STATUS_UPDATE", "NEW_WARNING", "QUEUE_HOP", "COMPLETE", "ERROR", "CANCELED"
    ]
    percent: int | None = None
    phase: Text | None = None
    error_code: int | None = None
    error_message: Text | None = None
