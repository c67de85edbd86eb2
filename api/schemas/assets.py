"""What goes in and what comes out, as frozen pydantic models; the OpenAPI document is made from them."""

import unicodedata
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from media.asset import AssetType, DeliveryClass, Status

FILENAME_LIMIT = 255
"""Characters; the longest name that the usual file systems hold."""
SIZE_LIMIT = 2**53 - 1
"""The largest whole number that every JSON reader understands."""

_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")
"""Of category Cf, yet part of the text: they hold emoji and words of some scripts together (UAX 31, section 2.3)."""
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Fillers of Hangul and the empty Braille pattern: letters and symbols by category, and nothing to be seen."""


def _printable(value: str) -> str:
    """The name without control characters, and without format characters that hide in text or turn it around."""
    kept = "".join(c for c in value if c in _JOINERS or unicodedata.category(c) not in _UNPRINTABLE).strip()
    if not any(unicodedata.category(c)[0] in "LNPS" and c not in _BLANK for c in kept):
        raise ValueError("must have at least one visible character")
    return kept


ContentType = Annotated[
    str,
    StringConstraints(min_length=3, max_length=200),
    AfterValidator(lambda value: value.partition(";")[0].strip().lower()),
]
Filename = Annotated[str, StringConstraints(min_length=1, max_length=FILENAME_LIMIT), AfterValidator(_printable)]


class RequestModel(BaseModel):
    """What clients send. Fields that we do not know are refused: they are typing errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class QueryModel(BaseModel):
    """What stands in a query string: text, from which numbers are read."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ResponseModel(BaseModel):
    """What clients get, made by name of what the domain has: `AssetOut.model_validate(asset)`."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class UploadRequest(RequestModel):
    """Announces a file."""

    asset_type: AssetType
    content_type: ContentType
    original_filename: Filename
    size: int | None = Field(None, ge=1, le=SIZE_LIMIT, description="Bytes; signed into the URL when given")
    delivery: DeliveryClass | None = Field(None, description="By default what suits the asset type")


class UploadSlot(ResponseModel):
    """Where to PUT the file: `headers` are what the client must set itself, exactly so."""

    asset_id: UUID
    upload_url: str
    s3_key: str
    expires_in: int = Field(description="Seconds")
    headers: dict[str, str] = Field(description="Exactly these belong to the PUT; the browser adds Content-Length")


class ConfirmRequest(RequestModel):
    """Says that the file is there."""

    asset_id: UUID


class RenditionOut(ResponseModel):
    """One derived file, or the original of a document."""

    name: str = Field(description="`w150` … `w1920`, `hls`, `mp4`, `m4a`, `poster`, `original`")
    content_type: str
    width: int | None = Field(description="Pixels")
    height: int | None = Field(description="Pixels")
    bytes: int


class AssetOut(ResponseModel):
    """One uploaded file and all that has become of it."""

    asset_id: UUID
    asset_type: AssetType
    status: Status
    code: str | None = Field(description="Why it was rejected or failed")
    detail: str | None = Field(description="The same in words, for people; may change")
    delivery: DeliveryClass = Field(description="How its renditions are handed out")
    content_type: str = Field(description="As announced; once it is scanned, what it really is")
    original_filename: str
    size: int | None = Field(
        validation_alias="known_size", description="Bytes; what was announced until the file is there"
    )
    width: int | None = Field(description="Pixels, upright as it is shown; of the original")
    height: int | None = Field(description="Pixels, likewise")
    duration_ms: int | None = Field(description="Milliseconds, of video and audio")
    progress: int = Field(ge=0, le=100, description="Percent, of a transcoding; 100 once it is ready")
    placeholder: str | None = Field(description="A ThumbHash in base64: what to show until the picture is there")
    renditions: list[RenditionOut]
    created_at: datetime
    updated_at: datetime
    title: str | None = Field(None, description="Of a recording, as the webinar service named it")
    webinar_id: str | None = Field(None, description="Of a recording: the webinar service's own")
    recording_id: str | None = Field(None, description="Likewise")


class ListingQuery(QueryModel):
    """Which assets, and from where on."""

    asset_type: AssetType | None = None
    status: Status | None = Field(None, description="Deleted assets are listed only when asked for")
    cursor: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    limit: int = Field(50, ge=1, le=100)


class Listing(ResponseModel):
    """Assets, newest first."""

    items: list[AssetOut]
    next_cursor: str | None = Field(description="For the next page; null on the last")


class UrlQuery(QueryModel):
    rendition: Annotated[str, StringConstraints(min_length=1, max_length=40)] | None = None


class PlaylistQuery(QueryModel):
    token: Annotated[str, StringConstraints(max_length=200)]


class EventsQuery(QueryModel):
    ticket: Annotated[str, StringConstraints(min_length=1, max_length=2000)] | None = Field(
        None, description="Instead of the Authorization header, which EventSource cannot send"
    )
    last_event_id: Annotated[str, StringConstraints(max_length=20)] | None = Field(
        None, description="Like the header Last-Event-ID"
    )


class TicketOut(ResponseModel):
    """Opens event streams for a minute."""

    ticket: str
    expires_at: datetime


class UrlOut(ResponseModel):
    """Where a rendition can be fetched."""

    url: str
    rendition: str
    expires_at: datetime | None = Field(description="null: does not expire")


class TimelineEntryOut(ResponseModel):
    at: datetime
    stage: str | None
    attempt: int | None
    code: str
    detail: str


class Timeline(ResponseModel):
    """All that happened to an asset, oldest first."""

    items: list[TimelineEntryOut]


class FindingOut(ResponseModel):
    """One breach of what the HLS specifications ask for."""

    rule: str
    where: str
    message: str


class VariantReportOut(ResponseModel):
    """What one variant declares and what was measured; bits per second and seconds."""

    uri: str
    resolution: str
    codecs: str
    frame_rate: float | None
    segments: int
    duration: float
    declared_bandwidth: int | None
    measured_bandwidth: int
    declared_average: int | None
    measured_average: int
    examined: int = 0
    """Segments that were read whole; the others' beginnings or sizes only."""


class ReportOut(ResponseModel):
    """What checking the finished HLS found."""

    clean: bool
    variants: list[VariantReportOut]
    findings: list[FindingOut]
    notes: list[str] = []
    """What was not looked into, and why."""


class PageTokenOut(ResponseModel):
    """What the development page needs to begin: a token, and which signatures the scanner has."""

    token: str
    scanner: str


class ImageCallback(RequestModel):
    """Asks for a picture's renditions."""

    asset_id: UUID
    version_id: Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class AcceptedOut(ResponseModel):
    """Will be done."""

    accepted: bool = True


class HealthOut(ResponseModel):
    status: str = "ok"
    service: str = "media"


class FieldErrorOut(ResponseModel):
    field: str
    message: str


class ProblemOut(ResponseModel):
    """RFC 9457, with a stable `code`."""

    type: str
    title: str
    status: int
    code: str
    detail: str = ""
    request_id: str
    errors: list[FieldErrorOut] = Field(default_factory=list)
