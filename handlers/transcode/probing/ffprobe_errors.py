"""Interprets ffprobe's error output. It is matched, never passed on, because it contains the signed address."""

import re

from media.errors import Code, MediaError, RejectedError, RetryableError

_DEMUXER = r"^\[(?!http|tcp|tls|file|NULL)[^\]]+ @ 0x[0-9a-f]+\]"
"""A line written by a demuxer, which recognized the format and then gave up."""

_STORAGE = re.compile(
    r"Server returned (?:400|401|403|429|4XX|5XX)|Connection (?:refused|reset|timed out)|Failed to resolve|"
    r"Network is unreachable|Stream ends prematurely|Input/output error|Error in the p(?:ush|ull) function",
)
_LOCAL_FILE = re.compile(r"^file:.*: Input/output error$", re.MULTILINE)
_MISSING = re.compile(r"Server returned 404|No such file or directory")
_PROTECTED = re.compile(r"DRM protected|[Ee]ncrypted")
_CODEC = re.compile(r"Codec \((\w{1,40})\) not on whitelist")
_CUT_SHORT = re.compile(r"partial file|File ended prematurely|Truncated|Packet corrupt|error reading header")
_MEMORY = re.compile(r"Cannot allocate memory|get_buffer\(\) failed|[Ff]ailed to allocate|malloc of size|bad_alloc")

_NO_INDEX = (
    "its index (moov) is not whole, because the recorder broke off or the copy did: copy it again from the device; if "
    "it does not play there either, a repair program can restore it beside a whole recording of the same device"
)

_FAULTS = (
    (
        re.compile(r"Format not on whitelist"),
        Code.UNSUPPORTED,
        "not a video or audio container that this service reads",
    ),
    (re.compile(r"moov atom not found|^\[mov,.*error reading header", re.MULTILINE), Code.CORRUPT, _NO_INDEX),
    (_PROTECTED, Code.ENCRYPTED, "the file is protected against copying"),
    (re.compile(_DEMUXER, re.MULTILINE), Code.CORRUPT, "the file's structure is damaged"),
)
"""Patterns with the code and detail that they mean. The first that matches counts."""


def find_storage_error(stderr: str) -> MediaError | None:
    """Return the error when the storage failed, rather than the file; else None."""
    if _MISSING.search(stderr):
        return RetryableError(Code.SOURCE_MISSING, "the storage does not have the file")
    # A local file is here already: an I/O error about it comes from a demuxer that lost its way in damaged bytes.
    if _STORAGE.search(_LOCAL_FILE.sub("", stderr)):
        return RetryableError(Code.STORAGE_ERROR, "the storage did not give the file's bytes")
    return None


def is_cut_short(stderr: str) -> bool:
    """Tell whether the file ended before the end that its index promises."""
    return bool(_CUT_SHORT.search(stderr))


def is_damaged(stderr: str) -> bool:
    """Tell whether a demuxer lost its way in the middle of the file, and went on behind it."""
    return any(re.match(_DEMUXER, line) and not _CUT_SHORT.search(line) for line in stderr.splitlines())


def is_out_of_memory(stderr: str) -> bool:
    """Tell whether a demuxer or decoder reached its limit of address space. ffprobe may exit with 0 even so."""
    return bool(_MEMORY.search(stderr))


def is_encrypted(stderr: str) -> bool:
    """Tell whether a demuxer found protected content."""
    return bool(_PROTECTED.search(stderr))


def find_unlisted_codecs(stderr: str) -> frozenset[str]:
    """Return the decoders that the file needs and that are on none of our lists."""
    return frozenset(_CODEC.findall(stderr))


def explain_empty_index() -> RejectedError:
    """Return the reason why an MP4 that was opened has no tracks."""
    return RejectedError(Code.CORRUPT, _NO_INDEX)


def explain_failed_open(stderr: str) -> MediaError:
    """Return the reason why ffprobe could not open a file: the storage or the file."""
    if error := find_storage_error(stderr):
        return error
    if codec := _CODEC.search(stderr):
        return RejectedError(Code.UNSUPPORTED_CODEC, f"a track coded as {codec[1]}")
    for pattern, code, detail in _FAULTS:
        if pattern.search(stderr):
            return RejectedError(code, detail)
    return RejectedError(Code.UNSUPPORTED, "no video or audio container was recognised in the file")
