"""What ffprobe's complaints mean. Its words are matched, never passed on: they contain the signed address."""

import re

from media.errors import Code, MediaError, RejectedError, RetryableError

_DEMUXER = r"^\[(?!http|tcp|tls|file|NULL)[^\]]+ @ 0x[0-9a-f]+\]"
"""A line spoken by a demuxer: it knew the format, and then gave up."""

_STORAGE = re.compile(
    r"Server returned (?:401|403|4XX|5XX)|Connection (?:refused|reset|timed out)|Failed to resolve|"
    r"Network is unreachable|Stream ends prematurely|Input/output error|Error in the p(?:ush|ull) function",
)
_MISSING = re.compile(r"Server returned 404|No such file or directory")
_PROTECTED = re.compile(r"DRM protected|[Ee]ncrypted")
_CODEC = re.compile(r"Codec \((\w{1,40})\) not on whitelist")
_CUT_SHORT = re.compile(r"partial file|File ended prematurely|Truncated|Packet corrupt|error reading header")
_MEMORY = re.compile(r"Cannot allocate memory|get_buffer\(\) failed|[Ff]ailed to allocate|malloc of size|bad_alloc")

_FAULTS = (
    (
        re.compile(r"Format not on whitelist"),
        Code.UNSUPPORTED,
        "not a video or audio container that this service reads",
    ),
    (
        re.compile(r"moov atom not found"),
        Code.CORRUPT,
        "the file has no index (moov): it was cut short or never finished",
    ),
    (_PROTECTED, Code.ENCRYPTED, "the file is protected against copying"),
    (re.compile(_DEMUXER, re.MULTILINE), Code.CORRUPT, "the file's structure is damaged"),
)
"""The first that matches is the reason."""


def unreachable(complaint: str) -> MediaError | None:
    """The error when the storage, not the file, is what ffprobe complains about; else None."""
    if _MISSING.search(complaint):
        return RetryableError(Code.SOURCE_MISSING, "the storage does not have the file")
    if _STORAGE.search(complaint):
        return RetryableError(Code.STORAGE_ERROR, "the storage did not give the file's bytes")
    return None


def cut_short(complaint: str) -> bool:
    """Whether a reader found the file's end before the end of what its index promises."""
    return bool(_CUT_SHORT.search(complaint))


def out_of_memory(complaint: str) -> bool:
    """Whether a reader or decoder met its limit of address space; the exit status may well be 0 then."""
    return bool(_MEMORY.search(complaint))


def protected(complaint: str) -> bool:
    return bool(_PROTECTED.search(complaint))


def unlisted_codecs(complaint: str) -> frozenset[str]:
    """The decoders that were wanted and are on no list of ours."""
    return frozenset(_CODEC.findall(complaint))


def unopenable(complaint: str) -> MediaError:
    """Why ffprobe could not open a file: the storage's fault, or one of the file's many."""
    if error := unreachable(complaint):
        return error
    if codec := _CODEC.search(complaint):
        return RejectedError(Code.UNSUPPORTED_CODEC, f"a track coded as {codec[1]}")
    for pattern, code, detail in _FAULTS:
        if pattern.search(complaint):
            return RejectedError(code, detail)
    return RejectedError(Code.UNSUPPORTED, "no video or audio container was recognised in the file")
