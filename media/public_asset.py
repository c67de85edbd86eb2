"""The asset as others see it: one shape for the answers of the API and for the events."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from media.asset import AssetType, DeliveryClass, Status


class PublicModel(BaseModel):
    """What leaves this service, made from the attributes of a domain object: `AssetOut.model_validate(asset)`.

    It has all its fields, also those with a default.
    """

    model_config = ConfigDict(frozen=True, from_attributes=True, json_schema_serialization_defaults_required=True)


class RenditionOut(PublicModel):
    """One derived file, or the original of a document."""

    name: str = Field(description="`w150` … `w1920`, `page-1` …, `hls`, `mp4`, `m4a`, `poster`, `original`")
    content_type: str
    width: int | None = Field(description="Pixels")
    height: int | None = Field(description="Pixels")
    bytes: int


class NoteOut(PublicModel):
    """Something to know of an asset that is ready."""

    code: str = Field(
        description="`actions_removed`: scripts and the like were taken out of a document; `cut_short`: a film or"
        " recording was not written to its end, and shows what is there; `damaged`: some of a film or recording could"
        " not be decoded, and may stand still or be silent; `no_preview`: no picture of a document's pages could be"
        " made"
    )
    detail: str = Field(description="The same in words, for people; may change")


class DocumentInfoOut(PublicModel):
    """What a document says of itself. Nobody checks it."""

    title: str | None
    author: str | None
    created: datetime | None
    modified: datetime | None


class AssetOut(PublicModel):
    """One uploaded file and its renditions."""

    asset_id: UUID
    owner_id: str | None = Field(description="Whose it is: to `service` and `admin`, null for others")
    asset_type: AssetType
    status: Status
    code: str | None = Field(description="Why it was rejected or failed")
    detail: str | None = Field(description="The same in words, for people; may change")
    delivery: DeliveryClass = Field(description="How its renditions are delivered")
    pending_delivery: DeliveryClass | None = Field(
        None, description="How they will be, once their files are copied; null when no change is under way"
    )
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
    title: str | None = Field(None, description="For people: as given at the upload, or by the webinar service")
    external_id: str | None = Field(None, description="What another service calls it")
    metadata: dict[str, str] = Field({}, description="What its owner and other services keep with it")
    webinar_id: str | None = Field(None, description="The webinar service's id of the webinar of a recording")
    recording_id: str | None = Field(None, description="The webinar service's id of a recording")
