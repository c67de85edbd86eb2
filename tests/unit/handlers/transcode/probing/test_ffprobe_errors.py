"""What ffprobe writes to standard error is the storage's fault or the file's."""

import pytest

from handlers.transcode.probing.ffprobe_errors import explain_failed_open, find_storage_error
from media.errors import Code, RejectedError, RetryableError

DEMUXER = "[matroska,webm @ 0x55d0] Element at 0x2f ending at 0x1ff exceeds containing master element\n"


@pytest.mark.parametrize("line", ["http://127.0.0.1:1/x: Input/output error", "Connection reset by peer"])
def test_storage_that_fails_is_asked_again(line: str) -> None:
    error = find_storage_error(DEMUXER + line)
    assert isinstance(error, RetryableError)
    assert error.code is Code.STORAGE_ERROR


def test_io_error_about_a_local_file_is_damage() -> None:
    """Matroska's demuxer reports so when an element leads nowhere."""
    error = explain_failed_open(DEMUXER + "file:source: Input/output error\n")
    assert isinstance(error, RejectedError)
    assert error.code is Code.CORRUPT
