"""Errors that cross a boundary, and the table of codes that users, tests and docs rely on."""

from enum import StrEnum


class Code(StrEnum):
    """A stable reason, shown to users and stored on the timeline. `MEANINGS` explains each."""

    # The input's fault: the asset ends `rejected`.
    INFECTED = "infected"
    UNSCANNABLE = "unscannable"
    TOO_LARGE_TO_SCAN = "too_large_to_scan"
    ENCRYPTED = "encrypted"
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    TYPE_MISMATCH = "type_mismatch"
    UNSUPPORTED = "unsupported"
    CORRUPT = "corrupt"
    TOO_MANY_PIXELS = "too_many_pixels"
    RESOURCE_LIMIT = "resource_limit"
    NO_VIDEO = "no_video"
    NO_AUDIO = "no_audio"
    UNSUPPORTED_CODEC = "unsupported_codec"
    TOO_LONG = "too_long"
    ACTIVE_CONTENT = "active_content"
    BUCKET_NOT_ALLOWED = "bucket_not_allowed"
    SOURCE_CHANGED = "source_changed"
    # Our fault: the asset ends `failed`, or the work is tried again.
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    STALLED = "stalled"
    SOURCE_MISSING = "source_missing"
    SCANNER_ERROR = "scanner_error"
    STORAGE_ERROR = "storage_error"
    TRANSCODER_ERROR = "transcoder_error"
    JOB_CANCELED = "job_canceled"
    WORKER_CRASHED = "worker_crashed"
    UNFORESEEN = "unforeseen"
    # A message that cannot be used: sent to the dead-letter queue.
    UNDECODABLE = "undecodable"
    UNKNOWN_ASSET = "unknown_asset"


MEANINGS: dict[Code, str] = {
    Code.INFECTED: "ClamAV found a signature in the file; it was moved to quarantine.",
    Code.UNSCANNABLE: "ClamAV could not look into the whole file, so nothing says that it is safe.",
    Code.TOO_LARGE_TO_SCAN: "The file is larger than the scanner takes.",
    Code.ENCRYPTED: "The file asks for a password, so its content can be neither scanned nor shown.",
    Code.EMPTY: "The file has no bytes.",
    Code.TOO_LARGE: "The file is larger than its type allows.",
    Code.TYPE_MISMATCH: "The content is not of the type that was announced.",
    Code.UNSUPPORTED: "The format is not one that this service reads.",
    Code.CORRUPT: "The file is damaged or cut short and cannot be decoded.",
    Code.TOO_MANY_PIXELS: "The picture, or all frames of the animation together, has more pixels than allowed.",
    Code.RESOURCE_LIMIT: "Decoding needed more memory or time than one file may use.",
    Code.NO_VIDEO: "The file has no picture track. What is sound alone can be sent as audio.",
    Code.NO_AUDIO: "The file has no sound track.",
    Code.UNSUPPORTED_CODEC: "The picture or the sound is coded in a way that this service does not read.",
    Code.TOO_LONG: "The recording lasts longer than allowed.",
    Code.ACTIVE_CONTENT: "The document is signed and contains scripts or starts programs, or is damaged and may do so.",
    Code.BUCKET_NOT_ALLOWED: "The recording lies in a bucket that this service may not read.",
    Code.SOURCE_CHANGED: "The object changed after it was scanned.",
    Code.ATTEMPTS_EXHAUSTED: "Processing failed again and again; the operator has been told.",
    Code.STALLED: "Nothing was heard of the work in spite of six reminders.",
    Code.SOURCE_MISSING: "The object version is not in the bucket any more.",
    Code.SCANNER_ERROR: "The scanner gave no verdict.",
    Code.STORAGE_ERROR: "The object storage answered with an error.",
    Code.TRANSCODER_ERROR: "The transcoder ended the job with an error.",
    Code.JOB_CANCELED: "The transcoding job was canceled.",
    Code.WORKER_CRASHED: "The process that did the work died.",
    Code.UNFORESEEN: "An error that nobody foresaw; the log has its trace.",
    Code.UNDECODABLE: "The message does not have the form its queue requires.",
    Code.UNKNOWN_ASSET: "The message names an asset that does not exist.",
}


class MediaError(Exception):
    """An error with a stable code, and a detail for people."""

    def __init__(self, code: Code, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail


class RejectedError(MediaError):
    """The input is at fault. It is never tried again: the asset ends `rejected` with this code."""


class FailedError(MediaError):
    """Our side is at fault, and another attempt would not help: the asset ends `failed` with this code."""


class RetryableError(MediaError):
    """The work may succeed next time. `retry_after` is a delay in seconds, where the raiser knows one.

    `counts_as_attempt=False` means "not ready yet": the retry uses no attempt. The raiser must bound the total wait.
    `code_when_exhausted` is for work that depends on nothing but the input's bytes: the asset is rejected with this
    code when no attempts are left. Without it the asset fails.
    """

    def __init__(
        self,
        code: Code,
        detail: str = "",
        *,
        retry_after: float | None = None,
        counts_as_attempt: bool = True,
        code_when_exhausted: Code | None = None,
    ) -> None:
        super().__init__(code, detail)
        self.retry_after = retry_after
        self.counts_as_attempt = counts_as_attempt
        self.code_when_exhausted = code_when_exhausted


class UndecodableError(MediaError):
    """The message does not have its queue's form. It goes to the dead-letter queue at once."""

    def __init__(self, detail: str, code: Code = Code.UNDECODABLE) -> None:
        super().__init__(code, detail)


class FailureKind(StrEnum):
    """Where the fault lies when a call of a dependency fails. Each adapter finds one for every exception."""

    INPUT = "input"  # in the file or the message: it is rejected
    RETRY = "retry"  # nowhere for long, and nothing was done: the adapter repeats the call, then it is unavailable
    REFUSED = "refused"  # not known yet: a call that must succeed says whether everything is refused or this alone
    UNAVAILABLE = "unavailable"  # in the dependency: the message is released, and no attempt is counted
    BUG = "bug"  # in our code: the error is raised as it is and logged with its trace, and the attempt counts


class Dependency(StrEnum):
    """An outside service. While it is down, the queues that need it are paused."""

    CLAMD = "clamd"
    POSTGRES = "postgres"
    S3 = "s3"
    SQS = "sqs"
    MEDIACONVERT = "mediaconvert"
    EVENTBRIDGE = "eventbridge"


class UnavailableError(Exception):
    """A dependency is down: the message is released and no attempt is counted.

    `is_unforeseen` means that its answer was none that the adapter knows; the adapter has logged the trace.
    """

    def __init__(self, dependency: Dependency, detail: str = "", *, is_unforeseen: bool = False) -> None:
        super().__init__(f"{dependency} is unavailable: {detail}")
        self.dependency = dependency
        self.detail = detail
        self.is_unforeseen = is_unforeseen


class LeaseLostError(Exception):
    """Another worker holds the stage, or the asset is gone: this worker's result must not count."""
