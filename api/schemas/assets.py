"""Requests and responses as frozen pydantic models. The OpenAPI document is generated from them."""

import unicodedata
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, RootModel, StringConstraints

from media.asset import AssetType, DeliveryClass, Status

FILENAME_LIMIT = 255
"""Characters of a file name, the limit of the usual file systems."""
SIZE_LIMIT = 2**53 - 1
"""Bytes: the largest integer that every JSON parser reads exactly."""

_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")
"""Characters of category Cf that belong to the text: they join emoji and words of some scripts (UAX 31, 2.3)."""
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Fillers of Hangul and the empty Braille pattern: letters and symbols by category, but invisible."""


def _remove_unprintable(value: str) -> str:
    """Remove control characters, and format characters that hide text or change its direction."""
    kept = "".join(c for c in value if c in _JOINERS or unicodedata.category(c) not in _UNPRINTABLE).strip()
    if not any(unicodedata.category(c)[0] in "LNPS" and c not in _BLANK for c in kept):
        raise ValueError("must have at least one visible character")
    return kept


ContentType = Annotated[
    str,
    StringConstraints(min_length=3, max_length=200),
    AfterValidator(lambda value: value.partition(";")[0].strip().lower()),
]
Filename = Annotated[
    str, StringConstraints(min_length=1, max_length=FILENAME_LIMIT), AfterValidator(_remove_unprintable)
]


class RequestModel(BaseModel):
    """A request body. Unknown fields are refused: they are typing errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class QueryModel(BaseModel):
    """A query string: text, from which numbers are parsed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ResponseModel(BaseModel):
    """A response, made from the attributes of a domain object: `AssetOut.model_validate(asset)`.

    It has all its fields, also those with a default.
    """

    model_config = ConfigDict(frozen=True, from_attributes=True, json_schema_serialization_defaults_required=True)


class Announcement(RequestModel):
    """Announce a file."""

    asset_type: AssetType
    content_type: ContentType
    original_filename: Filename
    size: int | None = Field(None, ge=1, le=SIZE_LIMIT, description="Bytes; signed into the URL when given")
    delivery: DeliveryClass | None = Field(None, description="Default: the usual one of the asset type")


class UploadRequest(Announcement):
    """Announce a file that is sent in one PUT."""

    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")] | None = Field(
        None, description="Of the file, in hexadecimal: the storage then refuses other bytes"
    )


class UploadSlot(ResponseModel):
    """The URL to PUT the file to."""

    asset_id: UUID
    upload_url: str
    s3_key: str
    expires_in: int = Field(description="Seconds")
    headers: dict[str, str] = Field(
        description="Of the PUT. `Content-Type` must be sent, and `x-amz-checksum-sha256` where it is here;"
        " `If-None-Match` is advised: a repeated PUT is then 412. The browser adds Content-Length"
    )


class ConfirmRequest(RequestModel):
    """Say that the file was sent."""

    asset_id: UUID


class RenditionOut(ResponseModel):
    """One derived file, or the original of a document."""

    name: str = Field(description="`w150` … `w1920`, `page-1` …, `hls`, `mp4`, `m4a`, `poster`, `original`")
    content_type: str
    width: int | None = Field(description="Pixels")
    height: int | None = Field(description="Pixels")
    bytes: int


class NoteOut(ResponseModel):
    """Something to know of an asset that is ready."""

    code: str = Field(
        description="`actions_removed`: scripts and the like were taken out of a document; `cut_short`: a film or"
        " recording was not written to its end, and shows what is there; `no_preview`: no picture of a document's pages"
        " could be made"
    )
    detail: str = Field(description="The same in words, for people; may change")


class DocumentInfoOut(ResponseModel):
    """What a document says of itself. Nobody checks it."""

    title: str | None
    author: str | None
    created: datetime | None
    modified: datetime | None


class AssetOut(ResponseModel):
    """One uploaded file and its renditions."""

    asset_id: UUID
    asset_type: AssetType
    status: Status
    code: str | None = Field(description="Why it was rejected or failed")
    detail: str | None = Field(description="The same in words, for people; may change")
    delivery: DeliveryClass = Field(description="How its renditions are delivered")
    content_type: str = Field(description="As announced; after the scan, the real one")
    original_filename: str
    size: int | None = Field(
        validation_alias="known_size", description="Bytes; the announced ones until the file is there"
    )
    width: int | None = Field(description="Pixels of the original, upright")
    height: int | None = Field(description="Pixels of the original, upright")
    duration_ms: int | None = Field(description="Milliseconds of video and audio")
    progress: int = Field(ge=0, le=100, description="Percent of the transcoding; 100 once the asset is ready")
    placeholder: str | None = Field(description="A ThumbHash in base64, to show while the picture loads")
    dominant_color: str | None = Field(description="`#rrggbb`, of a picture or the first page")
    sha256: str | None = Field(description="Of the uploaded file, in hexadecimal; null for video and audio")
    page_count: int | None = Field(description="Pages of a document")
    document_info: DocumentInfoOut | None = Field(description="Title, author and times of a document, by its own word")
    notes: list[NoteOut] = Field(max_length=50, description="What users should know of it")
    renditions: list[RenditionOut]
    created_at: datetime
    updated_at: datetime
    title: str | None = Field(None, description="Title of a recording, from the webinar service")
    webinar_id: str | None = Field(None, description="The webinar service's id of the webinar of a recording")
    recording_id: str | None = Field(None, description="The webinar service's id of a recording")


class AssetEvent(ResponseModel):
    """An event of a stream: an asset as it is now. A stream may repeat one."""

    event: Literal["asset"]
    id: str = Field(description="For `Last-Event-ID`")
    data: AssetOut


class ResetEvent(ResponseModel):
    """An event of a stream: too much was missed, list again."""

    event: Literal["reset"]
    data: dict[str, str] = Field(max_length=0)


class StreamEvent(RootModel[AssetEvent | ResetEvent]):
    """One server-sent event: its name, its id, and its data, which are JSON."""


class ListingQuery(QueryModel):
    """Which assets, and from which one on."""

    asset_type: AssetType | None = None
    status: Status | None = Field(None, description="Deleted assets are listed only when asked for")
    cursor: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    limit: int = Field(50, ge=1, le=100)


class Listing(ResponseModel):
    """Assets, newest first."""

    items: list[AssetOut]
    next_cursor: str | None = Field(description="For the next page; null on the last")


class UrlQuery(QueryModel):
    rendition: Annotated[str, StringConstraints(min_length=1, max_length=40)] | None = Field(
        None, description="Default: `hls`, else the largest picture, else `original`. `original` is the uploaded file"
    )


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
    """A ticket that opens event streams for a minute."""

    ticket: str
    expires_at: datetime


class UrlOut(ResponseModel):
    """The URL of a rendition."""

    url: str
    rendition: str
    expires_at: datetime | None = Field(description="null: it does not expire")


class TimelineEntryOut(ResponseModel):
    at: datetime
    stage: str | None
    attempt: int | None
    code: str
    detail: str


class Timeline(ResponseModel):
    """The events of an asset, oldest first."""

    items: list[TimelineEntryOut]


class FindingOut(ResponseModel):
    """One violation of the HLS specifications."""

    rule: str
    where: str
    message: str


class VariantReportOut(ResponseModel):
    """Declared and measured values of one variant, in bits per second and seconds."""

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
    """Segments that were read whole. Of the others, only the beginning or the size was read."""


class ReportOut(ResponseModel):
    """The result of checking the finished HLS."""

    clean: bool
    variants: list[VariantReportOut]
    findings: list[FindingOut]
    notes: list[str] = []
    """Skipped checks, with the reason."""


class PageTokenOut(ResponseModel):
    """The token of the development page, and which signatures the scanner has."""

    token: str
    scanner: str


class ImageCallback(RequestModel):
    """Request the renditions of a picture."""

    asset_id: UUID
    version_id: Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class AcceptedOut(ResponseModel):
    """The callback was accepted."""

    accepted: bool = True


class HealthOut(ResponseModel):
    status: str = "ok"
    service: str = "media"


class FieldErrorOut(ResponseModel):
    field: str
    message: str


class ProblemOut(ResponseModel):
    """RFC 9457, with a stable `code`."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)  # it is written without its defaults

    type: str
    title: str
    status: int
    code: str
    detail: str = ""
    request_id: str
    errors: list[FieldErrorOut] = Field(default_factory=list)
