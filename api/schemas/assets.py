"""Requests and responses as frozen pydantic models. The OpenAPI document is generated from them."""

import re
from datetime import datetime
from typing import Annotated, ClassVar, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    StringConstraints,
    model_validator,
)

from media.asset import AssetType, DeliveryClass, Status
from media.asset_store.listing import TOTAL_LIMIT
from media.contracts import (
    METADATA_BYTES,
    TITLE_LIMIT,
    ExternalId,
    Metadata,
    MetadataPatch,
    Name,
    OwnerId,
    Time,
    make_one_line,
    remove_unprintable,
    require_visible,
)
from media.public_asset import AssetOut, PublicModel

FILENAME_LIMIT = 255
"""Characters of a file name, the limit of the usual file systems."""
URLS_AT_ONCE = 100
"""Most URLs of one request."""
SIZE_LIMIT = 2**53 - 1
"""Bytes: the largest integer that every JSON parser reads exactly."""

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.IGNORECASE | re.ASCII)


ContentType = Annotated[
    str,
    StringConstraints(min_length=3, max_length=200, pattern="^[ -~]+$"),  # what a header can carry
    AfterValidator(lambda value: " ".join(value.split())),  # S3 takes several spaces for one
]
Filename = Annotated[
    str,
    StringConstraints(min_length=1, max_length=FILENAME_LIMIT),
    AfterValidator(remove_unprintable),
    AfterValidator(require_visible),
]
Title = Annotated[
    str,
    StringConstraints(min_length=1, max_length=TITLE_LIMIT),
    AfterValidator(make_one_line),
    AfterValidator(require_visible),
]


class RequestModel(BaseModel):
    """A request body. Unknown fields are refused: they are typing errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class QueryModel(BaseModel):
    """A query string: text, from which numbers are parsed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ResponseModel(PublicModel):
    """A response, made from the attributes of a domain object."""


class Announcement(RequestModel):
    """Announce a file."""

    asset_type: AssetType
    content_type: ContentType
    original_filename: Filename
    size: int | None = Field(None, ge=1, le=SIZE_LIMIT, description="Bytes; signed into the URL when given")
    delivery: DeliveryClass | None = Field(None, description="Default: the usual one of the asset type")
    title: Title | None = Field(None, description="For people")
    external_id: ExternalId | None = Field(None, description="Your own id of it. Several assets may have the same")
    metadata: Metadata | None = Field(
        None, description=f"What you want to keep with it: at most {METADATA_BYTES} bytes as JSON"
    )


class UploadRequest(Announcement):
    """Announce a file that is sent in one PUT."""

    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")] | None = Field(
        None, description="Of the file, in hexadecimal: the storage then refuses other bytes"
    )


class AssetPatch(RequestModel):
    """Change what an asset says of itself (RFC 7396): what is left out stays, null clears."""

    title: Title | None = Field(None, description="For people")
    external_id: ExternalId | None = Field(None, description="Your own id of it")
    metadata: MetadataPatch | None = Field(
        None, description=f"Merged key by key, a null removes its key. The result has at most {METADATA_BYTES} bytes"
    )
    delivery: DeliveryClass = Field(
        default_factory=lambda: DeliveryClass.PUBLIC,  # never used, and clients must not see it as a default
        description="Only of what is ready. `pending_delivery` shows it until the files are copied there",
    )


class UploadLimitOut(ResponseModel):
    """What a file of one type may be."""

    asset_type: AssetType
    max_bytes: int = Field(description="The largest file")
    content_types: list[str] = Field(description="Those that may be announced, other names of the same format included")


class UploadLimits(ResponseModel):
    """What may be uploaded."""

    items: list[UploadLimitOut]


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


def require_rfc_3339(value: object) -> object:
    """Return a text that is a time of RFC 3339. Raises ValueError for other times that pydantic reads."""
    if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
        raise ValueError("a time as in RFC 3339, with its zone: 2026-11-30T04:15:45Z (a + must be sent as %2B)")
    return value


QueryTime = Annotated[Time, BeforeValidator(require_rfc_3339)]


class ListingQuery(QueryModel):
    """Which assets, in which order, and from which one on. All filters must hold."""

    REPEATABLE: ClassVar = frozenset({"asset_id", "asset_type", "status"})

    asset_id: list[UUID] | None = Field(None, min_length=1, max_length=100, description="Any of these; repeatable")
    asset_type: list[AssetType] | None = Field(None, max_length=10, description="Any of these; repeatable")
    status: list[Status] | None = Field(
        None, max_length=10, description="Any of these; repeatable. Deleted assets are listed only when asked for"
    )
    recording_id: Name | None = None
    webinar_id: Name | None = None
    external_id: ExternalId | None = None
    owner_id: OwnerId | None = Field(None, description="Only for `service` and `admin`")
    created_after: QueryTime | None = None
    created_before: QueryTime | None = None
    sort: Literal["-created_at", "created_at"] = Field("-created_at", description="Newest or oldest first")
    count: bool = Field(False, description="Tell the `total` too")
    cursor: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        None, description="`next_cursor` of the page before; holds for the filters that it came with"
    )
    limit: int = Field(50, ge=1, le=100)

    @model_validator(mode="after")
    def _require_one_page(self) -> Self:
        if self.asset_id and len(self.asset_id) > self.limit:
            raise ValueError("limit must be at least the number of asset_id")
        return self


class Listing(ResponseModel):
    """Assets, newest first, or as `sort` says."""

    items: list[AssetOut]
    next_cursor: str | None = Field(description="For the next page; null on the last")
    total: int | None = Field(description=f"With `count`: all assets that the filters hold for, up to {TOTAL_LIMIT}")
    total_is_more: bool = Field(description="There are more than `total`")


RenditionName = Annotated[str, StringConstraints(min_length=1, max_length=40)]


class UrlQuery(QueryModel):
    rendition: RenditionName | None = Field(
        None, description="Default: `hls`, else the largest picture, else `original`. `original` is the uploaded file"
    )


class UrlAsked(RequestModel):
    """One rendition to make a URL of."""

    asset_id: UUID
    rendition: RenditionName | None = Field(None, description="Default: as for one URL")


class UrlsRequest(RequestModel):
    """Request the URLs of some renditions."""

    items: list[UrlAsked] = Field(min_length=1, max_length=URLS_AT_ONCE)


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


class UrlMade(ResponseModel):
    """The URL of one of several renditions."""

    asset_id: UUID
    rendition: str
    url: str
    expires_at: datetime | None = Field(description="null: it does not expire")


class UrlProblem(ResponseModel):
    """What a request for this URL alone would be answered."""

    code: str
    title: str
    status: int
    detail: str


class UrlRefused(ResponseModel):
    """Why there is no URL of one of several renditions."""

    asset_id: UUID
    rendition: str | None = Field(description="As it was asked for")
    problem: UrlProblem


class UrlsOut(ResponseModel):
    """URLs in the order in which they were asked for."""

    items: list[UrlMade | UrlRefused]


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
    notes: list[str] = Field(default_factory=list)
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
