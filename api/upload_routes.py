"""The endpoints of uploads: in one PUT, and in parts."""

from api import part_schemas, schemas
from api.problems import ProblemCode
from api.rates import Rate
from api.routing import AUTH, BODY, MEDIA, Route
from api.views import multipart, uploads

_NEW = (
    *AUTH,
    *BODY,
    ProblemCode.DELIVERY_NOT_ALLOWED,
    ProblemCode.TOO_LARGE,
    ProblemCode.CONTENT_TYPE_NOT_ALLOWED,
    ProblemCode.IDEMPOTENCY_KEY_REUSED,
)
_STORED = (ProblemCode.NOT_UPLOADED, ProblemCode.SIZE_MISMATCH, ProblemCode.TOO_LARGE)
_PARTS = f"{MEDIA}/upload/multipart/{{asset_id}}"

UPLOAD_ROUTES = (
    Route(
        "POST",
        f"{MEDIA}/upload",
        uploads.start_upload,
        status=201,
        body=schemas.UploadRequest,
        answer=schemas.UploadSlot,
        headers=("Idempotency-Key",),
        rate=Rate.WRITE,
        problems=(*_NEW, ProblemCode.DELETED),
    ),
    Route(
        "POST",
        f"{MEDIA}/upload/confirm",
        uploads.confirm_upload,
        body=schemas.ConfirmRequest,
        answer=schemas.AssetOut,
        rate=Rate.WRITE,
        problems=(*AUTH, *BODY, ProblemCode.NOT_FOUND, ProblemCode.DELETED, *_STORED),
    ),
    Route(
        "POST",
        f"{MEDIA}/upload/multipart",
        multipart.start_parts,
        status=201,
        body=part_schemas.MultipartRequest,
        answer=part_schemas.MultipartOut,
        headers=("Idempotency-Key",),
        rate=Rate.WRITE,
        problems=(*_NEW, ProblemCode.UPLOAD_ENDED),
    ),
    Route(
        "GET",
        _PARTS,
        multipart.list_parts,
        answer=part_schemas.MultipartOut,
        cached=True,
        problems=(*AUTH, ProblemCode.NOT_FOUND, ProblemCode.UPLOAD_ENDED),
    ),
    Route(
        "POST",
        f"{_PARTS}/parts",
        multipart.sign_parts,
        body=part_schemas.PartsRequest,
        answer=part_schemas.PartLinks,
        rate=Rate.URL,
        problems=(*AUTH, *BODY, ProblemCode.NOT_FOUND, ProblemCode.UPLOAD_ENDED),
    ),
    Route(
        "POST",
        f"{_PARTS}/complete",
        multipart.complete_parts,
        body=part_schemas.CompleteRequest,
        answer=schemas.AssetOut,
        rate=Rate.WRITE,
        problems=(
            *AUTH,
            *BODY,
            ProblemCode.NOT_FOUND,
            ProblemCode.DELETED,
            ProblemCode.UPLOAD_ENDED,
            ProblemCode.PARTS_MISSING,
            *_STORED,
        ),
    ),
    Route(
        "DELETE",
        _PARTS,
        multipart.abort_parts,
        status=204,
        rate=Rate.WRITE,
        problems=(*AUTH, ProblemCode.NOT_FOUND, ProblemCode.UPLOAD_ENDED),
    ),
)
