"""What the emulator's process runs: ministack, mended where S3 behaves differently and we depend on it.

A GET of one version ignores `Range` and the `response-*` overrides in ministack 1.5. S3 honours both, and ffprobe
cannot seek without the first. tests/integration/stack/test_topology.py tells when this has become unnecessary.
"""

from collections.abc import Mapping
from typing import Any

from ministack import app
from ministack.services import s3

Answer = tuple[int, dict[str, str], Any]

_read = s3._get_object  # noqa: SLF001 - the one place where the answer is made


def _get_object(bucket: str, key: str, headers: Mapping[str, str], query: Mapping[str, Any] | None = None) -> Answer:
    """S3's GetObject: as ministack's, and for a version with Range and overrides as for the current one."""
    wanted = headers.get("range", "")
    if wanted:  # a checksum of the whole would not fit the part, so S3 sends none
        headers = {name: value for name, value in headers.items() if name != "x-amz-checksum-mode"}
    status, answer_headers, body = _read(bucket, key, headers, query)
    is_version = bool(s3._qp(query or {}, "versionId", ""))  # noqa: SLF001 - reads as _read reads
    if status != 200 or not is_version:  # noqa: PLR2004 - OK
        return status, answer_headers, body
    s3._apply_response_overrides(answer_headers, query)  # noqa: SLF001 - as for the current version
    if not wanted:
        return status, answer_headers, body
    span = s3._parse_range(wanted, len(body))  # noqa: SLF001 - as for the current version
    if span is None:
        return 416, {"Content-Range": f"bytes */{len(body)}"}, b""
    start, end = span
    part = body[start : end + 1]
    content = {"Content-Length": str(len(part)), "Content-Range": f"bytes {start}-{end}/{len(body)}"}
    return 206, {**answer_headers, **content}, part


if __name__ == "__main__":
    s3._get_object = _get_object  # noqa: SLF001 - looked up by this name for each request
    app.main()
