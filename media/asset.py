"""The domain: assets, the statuses that they pass through, and how their keys are made."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from urllib.parse import quote
from uuid import UUID

OWNER_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
KEY_LIMIT = 300
"""Characters. MediaConvert's `SearchJobs` filters by at most 300 characters of `InputFile`."""


class AssetType(StrEnum):
    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    DOCUMENT = "document"


class Status(StrEnum):
    PENDING = "pending"
    UPLOADED = "uploaded"
    SCANNING = "scanning"
    PROCESSING = "processing"
    READY = "ready"
    REJECTED = "rejected"
    FAILED = "failed"
    EXPIRED = "expired"
    DELETED = "deleted"


TERMINAL = frozenset({Status.READY, Status.REJECTED, Status.FAILED, Status.EXPIRED, Status.DELETED})

TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.UPLOADED, Status.EXPIRED, Status.DELETED}),
    Status.UPLOADED: frozenset({Status.SCANNING, Status.REJECTED, Status.FAILED, Status.DELETED}),
    Status.SCANNING: frozenset(
        {Status.PROCESSING, Status.READY, Status.REJECTED, Status.FAILED, Status.DELETED},
    ),
    Status.PROCESSING: frozenset({Status.READY, Status.REJECTED, Status.FAILED, Status.DELETED}),
    Status.READY: frozenset({Status.REJECTED, Status.DELETED}),
    Status.REJECTED: frozenset({Status.DELETED}),
    Status.FAILED: frozenset({Status.SCANNING, Status.PROCESSING, Status.DELETED}),
    Status.EXPIRED: frozenset({Status.UPLOADED, Status.DELETED}),
    Status.DELETED: frozenset(),
}
"""The statuses that each status may change to. A status may always be written again as itself."""
REPAIRS: dict[Status, frozenset[Status]] = {
    Status.READY: frozenset({Status.SCANNING}),  # files that it serves are gone
    Status.PENDING: frozenset({Status.REJECTED}),  # it lies in quarantine
    Status.EXPIRED: frozenset({Status.REJECTED}),
}
"""Further changes, which only `consumer.cli reconcile-storage` makes: no worker may."""


def sources_of(target: Status) -> list[str]:
    """Return the statuses from which `target` may be written, itself included; for `deleted`, all of them."""
    if target is Status.DELETED:
        return [status.value for status in Status]
    return [s.value for s, targets in TRANSITIONS.items() if target in targets or s is target]


class Stage(StrEnum):
    SCAN = "scan"
    IMAGE = "image"
    TRANSCODE = "transcode"


class StageState(StrEnum):
    QUEUED = "queued"
    LEASED = "leased"
    WAITING = "waiting"
    DONE = "done"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Verdict(StrEnum):
    CLEAN = "clean"
    INFECTED = "infected"
    UNSCANNABLE = "unscannable"
    ERROR = "error"


class DeliveryClass(StrEnum):
    PUBLIC = "public"
    COURSE_VIDEO = "course_video"
    COURSE_PDF = "course_pdf"
    WEBINAR_VOD = "webinar_vod"
    VERIFICATION_DOCUMENT = "verification_document"


DEFAULT_DELIVERY = {
    AssetType.IMAGE: DeliveryClass.PUBLIC,
    AssetType.VIDEO: DeliveryClass.COURSE_VIDEO,
    AssetType.AUDIO: DeliveryClass.COURSE_VIDEO,
    AssetType.DOCUMENT: DeliveryClass.COURSE_PDF,
}

NEXT_STAGE: dict[AssetType, Stage] = {
    AssetType.IMAGE: Stage.IMAGE,
    AssetType.VIDEO: Stage.TRANSCODE,
    AssetType.AUDIO: Stage.TRANSCODE,
    AssetType.DOCUMENT: Stage.IMAGE,
}
"""The stage that follows a clean scan."""


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One version of one S3 object. `version_id` is empty where the bucket keeps no versions."""

    bucket: str
    key: str
    version_id: str = ""


@dataclass(frozen=True, slots=True)
class Rendition:
    """One derived file, or the original of a document. Sizes are pixels and bytes, times milliseconds."""

    name: str
    key: str
    content_type: str
    bytes: int
    width: int | None = None
    height: int | None = None
    duration_ms: int | None = None


@dataclass(frozen=True, slots=True)
class AssetNote:
    """Something that users should know of an asset that is ready: a stable code, and a detail in words."""

    code: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """What a document says of itself. Nobody checks it. Times are ISO 8601, with a zone."""

    title: str | None = None
    author: str | None = None
    created: str | None = None
    modified: str | None = None


@dataclass(frozen=True, slots=True)
class Asset:
    """One uploaded file and everything that became of it, as Postgres has it.

    `announced` is the digest of the request with the Idempotency-Key that made it: what a later one is compared with.
    `delivery_changes` counts the changes of `delivery` that were begun, the one to `pending_delivery` included.
    """

    asset_id: UUID
    owner_id: str
    asset_type: AssetType
    status: Status
    delivery: DeliveryClass
    content_type: str
    original_filename: str
    bucket: str
    key: str
    created_at: datetime
    updated_at: datetime
    version_id: str | None = None
    etag: str | None = None
    declared_size: int | None = None
    size: int | None = None
    code: str | None = None
    detail: str | None = None
    width: int | None = None
    height: int | None = None
    duration_ms: int | None = None
    progress: int = 0
    placeholder: str | None = None
    dominant_color: str | None = None
    page_count: int | None = None
    document_info: DocumentInfo | None = None
    notes: Sequence[AssetNote] = ()
    sha256: str | None = None
    title: str | None = None
    webinar_id: str | None = None
    recording_id: str | None = None
    external_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    announced: str | None = None
    pending_delivery: DeliveryClass | None = None
    delivery_changes: int = 0
    uploaded_at: datetime | None = None
    trace_id: str = ""
    renditions: Sequence[Rendition] = field(default_factory=tuple)

    @property
    def source(self) -> ObjectVersion:
        return ObjectVersion(self.bucket, self.key, self.version_id or "")

    @property
    def known_size(self) -> int | None:
        """Bytes of the uploaded file, or the announced bytes before the upload."""
        return self.declared_size if self.size is None else self.size


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One event in the life of an asset."""

    at: datetime
    code: str
    stage: Stage | None
    attempt: int | None
    detail: str


_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def safe_file_name(name: str, *, limit: int = 80) -> str:
    """Reduce `name` to at most `limit` letters, digits, `.`, `_` and `-`; never empty, never with a leading dot.

    Path parts before the last slash or backslash are dropped; the suffix is kept when the name must be cut.
    """
    base = re.split(r"[/\\]", name)[-1]
    plain = unicodedata.normalize("NFKD", base).encode("ascii", "ignore").decode()
    safe = _UNSAFE.sub("-", plain).strip(".-")
    if len(safe) > limit:
        stem, dot, suffix = safe.rpartition(".")
        suffix = suffix[:10] if dot else ""
        safe = (stem or safe)[: limit - len(suffix) - 1] + ("." + suffix if suffix else "")
    return safe or "file"


def attachment(name: str, content_type: str) -> str:
    """Return a Content-Disposition that saves under `name` (RFC 6266): plain for old clients, UTF-8 for the others.

    A document's name always ends in `.pdf`, so that a double click opens it as one.
    """
    if content_type == "application/pdf" and not name.lower().endswith(".pdf"):
        name += ".pdf"
    plain = re.sub(r"[^A-Za-z0-9 ._()-]", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


OUTPUT_ROOTS = ("public", "processed", "private")
"""First parts of all keys that are written here. Which one it is depends on the delivery."""


def upload_key(asset_type: AssetType, owner_id: str, asset_id: UUID, filename: str) -> str:
    """Return the key that the client uploads to. Raises ValueError for an owner id that `OWNER_ID` does not match."""
    _require_owner(owner_id)
    return f"uploads/{asset_type}/{owner_id}/{asset_id}/{safe_file_name(filename)}"


def output_prefix(asset: Asset, stage: Stage, attempt: int) -> str:
    """Return the prefix that one attempt writes below, trailing slash included.

    CloudFront decides by its first part whether a URL needs a signature.
    """
    _require_owner(asset.owner_id)
    return f"{root_of(asset.delivery)}/{asset.asset_type}/{asset.owner_id}/{asset.asset_id}/{stage}-{attempt}/"


def root_of(delivery: DeliveryClass) -> str:
    """Return the first part of the keys of files that are delivered in this way."""
    roots = {DeliveryClass.PUBLIC: "public", DeliveryClass.VERIFICATION_DOCUMENT: "private"}
    return roots.get(delivery, "processed")


def attempt_prefix(key: str) -> str:
    """Return the prefix of the attempt that wrote an output, or of the change of delivery that copied it.

    Empty for what is no output.
    """
    match key.split("/"):
        case [root, kind, owner, asset_id, folder, _, *_] if root in OUTPUT_ROOTS:
            return f"{root}/{kind}/{owner}/{asset_id}/{folder}/"
    return ""


def moved_key(key: str, delivery: DeliveryClass, change: int) -> str:
    """Return where the change of delivery with this number copies an output to. Its folder is of that change alone.

    An output stays where both deliveries have the same root, and so does what is no output.
    """
    prefix = attempt_prefix(key)
    if not prefix or key.startswith(f"{root_of(delivery)}/"):
        return key
    _, *place, folder = prefix.removesuffix("/").split("/")
    moved = "/".join([root_of(delivery), *place, f"{unmoved(folder)}-m{change}"])
    return f"{moved}/{key.removeprefix(prefix)}"


def unmoved(folder: str) -> str:
    """Return the name `stage-attempt` of a folder of outputs, which changes of delivery add to."""
    return re.sub(r"-m[0-9]+$", "", folder)


PUBLIC_CACHE = "public, max-age=300"
"""Cache-Control of public files: five minutes after a deletion no cache that obeys it has them any more."""


def stored_cache_control(delivery: DeliveryClass) -> str:
    """Return the Cache-Control that a rendition is stored with.

    A URL of S3's overrides it. CloudFront checks the signature of each request, and each attempt writes below its own
    prefix, so what lies behind signed URLs may be kept.
    """
    if delivery is DeliveryClass.PUBLIC:
        return PUBLIC_CACHE
    if delivery is DeliveryClass.VERIFICATION_DOCUMENT:
        return "private, no-store"
    return "private, max-age=31536000, immutable"


def report_key(hls_key: str) -> str:
    """Return the key of the conformance report (JSON) of a rendition `hls`: beside the folder of its playlist."""
    return f"{hls_key.rpartition('/')[0].rpartition('/')[0]}/report.json"


def asset_id_of_key(key: str) -> UUID | None:
    """Return the asset that an upload key belongs to, or None when this service did not make the key."""
    match key.split("/"):
        case ["uploads", _, owner, asset_id, _] if OWNER_ID.fullmatch(owner):
            try:
                return UUID(asset_id)
            except ValueError:
                return None
    return None


def _require_owner(owner_id: str) -> None:
    if not OWNER_ID.fullmatch(owner_id):
        raise ValueError(f"not an owner id: {owner_id!r}")
