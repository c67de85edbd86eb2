"""All problems that the API reports, in one table: the stable code, the HTTP status and a title for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class ProblemCode(StrEnum):
    """The `code` of an `application/problem+json` response. It never changes its meaning."""

    NOT_HTTP = "not_http"
    INVALID_REQUEST = "invalid_request"
    UNAUTHENTICATED = "unauthenticated"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - a code, no secret
    SIGNATURE_INVALID = "signature_invalid"
    SIGNATURE_REPLAYED = "signature_replayed"
    OWNER_ID_NOT_ALLOWED = "owner_id_not_allowed"
    DELIVERY_NOT_ALLOWED = "delivery_not_allowed"
    ADMIN_ONLY = "admin_only"
    ORIGIN_NOT_ALLOWED = "origin_not_allowed"
    NOT_FOUND = "not_found"
    RENDITION_NOT_FOUND = "rendition_not_found"
    REPORT_NOT_FOUND = "report_not_found"
    DELETED = "deleted"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    REQUEST_TIMEOUT = "request_timeout"
    NOT_UPLOADED = "not_uploaded"
    SIZE_MISMATCH = "size_mismatch"
    UPLOAD_ENDED = "upload_ended"
    PARTS_MISSING = "parts_missing"
    NOT_READY = "not_ready"
    DELIVERY_CHANGING = "delivery_changing"
    REJECTED = "rejected"
    FAILED = "failed"
    NOT_SCANNED_WHOLE = "not_scanned_whole"
    JOB_MISMATCH = "job_mismatch"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    BODY_TOO_LARGE = "body_too_large"
    TOO_LARGE = "too_large"
    TOO_LARGE_TO_SCAN = "too_large_to_scan"
    CONTENT_TYPE_NOT_ALLOWED = "content_type_not_allowed"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    RATE_LIMITED = "rate_limited"
    INTERNAL_ERROR = "internal_error"
    PLAYLIST_UNUSABLE = "playlist_unusable"
    REPORT_UNUSABLE = "report_unusable"
    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """HTTP status and title of one code."""

    status: int
    title: str


C = ProblemCode
KINDS: dict[ProblemCode, ProblemKind] = {
    C.NOT_HTTP: ProblemKind(400, "This is no HTTP request that the service can read."),
    C.INVALID_REQUEST: ProblemKind(422, "The request does not have the form that this endpoint takes."),
    C.UNAUTHENTICATED: ProblemKind(401, "The request carries no token that this service accepts."),
    C.TOKEN_EXPIRED: ProblemKind(401, "The token has expired, or is not valid yet."),
    C.SIGNATURE_INVALID: ProblemKind(401, "The callback is not signed as it must be."),
    C.SIGNATURE_REPLAYED: ProblemKind(409, "This callback was received before."),
    C.OWNER_ID_NOT_ALLOWED: ProblemKind(403, "The token's subject cannot own assets."),
    C.DELIVERY_NOT_ALLOWED: ProblemKind(403, "This delivery may not be asked for with this asset type and role."),
    C.ADMIN_ONLY: ProblemKind(403, "This is for operators: the token needs the role `admin`."),
    C.ORIGIN_NOT_ALLOWED: ProblemKind(403, "Pages of this origin may not call the API."),
    C.NOT_FOUND: ProblemKind(404, "There is nothing here for you."),
    C.RENDITION_NOT_FOUND: ProblemKind(404, "The asset has no such rendition."),
    C.REPORT_NOT_FOUND: ProblemKind(404, "The asset has no conformance report."),
    C.DELETED: ProblemKind(404, "The asset was deleted."),
    C.METHOD_NOT_ALLOWED: ProblemKind(405, "This endpoint does not know that method."),
    C.REQUEST_TIMEOUT: ProblemKind(408, "The request's body took too long to arrive."),
    C.NOT_UPLOADED: ProblemKind(409, "The file has not arrived in the storage yet."),
    C.SIZE_MISMATCH: ProblemKind(409, "The stored file does not have the size that was announced."),
    C.UPLOAD_ENDED: ProblemKind(409, "The upload in parts was completed, aborted, or took longer than a day."),
    C.PARTS_MISSING: ProblemKind(409, "The parts named are not all the parts that the storage has, with their ETags."),
    C.NOT_READY: ProblemKind(409, "The asset is not ready yet."),
    C.DELIVERY_CHANGING: ProblemKind(409, "The asset's delivery is being changed; ask again when that has ended."),
    C.REJECTED: ProblemKind(409, "The asset was rejected; its code says why."),
    C.FAILED: ProblemKind(409, "The asset could not be processed; its code says why."),
    C.NOT_SCANNED_WHOLE: ProblemKind(409, "The uploaded file was too large to be scanned, so it is not handed out."),
    C.JOB_MISMATCH: ProblemKind(409, "The asset has no such job, or is bound to another version."),
    C.IDEMPOTENCY_KEY_REUSED: ProblemKind(422, "This Idempotency-Key was used for another request."),
    C.BODY_TOO_LARGE: ProblemKind(413, "The request's body is larger than this endpoint takes."),
    C.TOO_LARGE: ProblemKind(413, "The file is larger than its type allows."),
    C.TOO_LARGE_TO_SCAN: ProblemKind(413, "The file is larger than the scanner takes, so it would be rejected."),
    C.CONTENT_TYPE_NOT_ALLOWED: ProblemKind(415, "Files of this content type are not taken as this asset type."),
    C.UNSUPPORTED_MEDIA_TYPE: ProblemKind(415, "The body must be JSON, uncompressed."),
    C.TOO_MANY_CONNECTIONS: ProblemKind(429, "Too many event streams are open."),
    C.RATE_LIMITED: ProblemKind(429, "Too many requests of this kind; `Retry-After` says when to come again."),
    C.INTERNAL_ERROR: ProblemKind(500, "Internal error."),
    C.PLAYLIST_UNUSABLE: ProblemKind(502, "The playlist in the storage cannot be served."),
    C.REPORT_UNUSABLE: ProblemKind(502, "The conformance report in the storage cannot be read."),
    C.UNAVAILABLE: ProblemKind(503, "A service that this one needs does not answer."),
    C.TIMEOUT: ProblemKind(503, "The request took too long."),
}
"""Every code with its status and title. The documentation and the OpenAPI document are generated from this table."""
del C


@dataclass(frozen=True, slots=True)
class FieldError:
    """The error in one field of a request."""

    field: str
    message: str


@dataclass(slots=True, eq=False)
class ProblemError(Exception):
    """A problem that is raised anywhere in the API, and written as problem+json by the outermost middleware.

    `detail` is for people. It contains nothing that the caller may not know.
    """

    code: ProblemCode
    detail: str = ""
    errors: Sequence[FieldError] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        return KINDS[self.code].status
