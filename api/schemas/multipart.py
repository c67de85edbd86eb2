"""Requests and responses of uploads in parts."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from api.schemas.assets import SIZE_LIMIT, Announcement, RequestModel, ResponseModel

MAX_PARTS = 10_000
"""Parts of one upload, S3's own limit."""
LEAST_PART, MOST_PART = 5 * 1024**2, 5 * 1024**3
"""Bytes of a part, S3's own limits. The last one may be smaller."""
BATCH = 100
"""Part URLs made in one request. Each costs two hashes, and is valid for 15 minutes."""

PartNumber = Annotated[int, Field(ge=1, le=MAX_PARTS)]


class MultipartRequest(Announcement):
    """Announce a file that is sent in parts. Its size must be known: the parts follow from it."""

    size: int = Field(ge=1, le=SIZE_LIMIT, description="Bytes")
    part_size: int | None = Field(
        None,
        ge=LEAST_PART,
        le=MOST_PART,
        description=f"Bytes of each part but the last, where the client chooses them; at most {MAX_PARTS} parts",
    )

    @model_validator(mode="after")
    def _require_possible_parts(self) -> Self:
        if self.part_size and -(-self.size // self.part_size) > MAX_PARTS:
            raise ValueError(f"part_size must be at least {-(-self.size // MAX_PARTS)}, for {MAX_PARTS} parts")
        return self


class StoredPartOut(ResponseModel):
    """A part that is stored."""

    part_number: int
    etag: str
    size: int = Field(description="Bytes")


class MultipartOut(ResponseModel):
    """An upload in parts: each has `part_size` bytes, the last one the rest. `parts` are those already stored."""

    asset_id: UUID
    s3_key: str
    size: int = Field(description="Bytes of the whole file")
    part_size: int = Field(description="Bytes")
    part_count: int
    parts: list[StoredPartOut]


class PartsRequest(RequestModel):
    """Request the URLs of some parts."""

    part_numbers: list[PartNumber] = Field(min_length=1, max_length=BATCH)


class PartLink(ResponseModel):
    """The URL to PUT one part to, of exactly `size` bytes. The completion needs the ETag of the response."""

    part_number: int
    url: str
    size: int = Field(description="Bytes")


class PartLinks(ResponseModel):
    items: list[PartLink]
    expires_in: int = Field(description="Seconds")


class PartNamed(RequestModel):
    """A part by its number and the ETag that the storage returned."""

    part_number: PartNumber
    etag: Annotated[str, StringConstraints(pattern=r'^"?[A-Za-z0-9+/=_-]{1,128}"?$')]


class CompleteRequest(RequestModel):
    """Complete the upload: all parts, in order."""

    parts: list[PartNamed] = Field(min_length=1, max_length=MAX_PARTS)
