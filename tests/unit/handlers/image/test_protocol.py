"""The replies of a child process: each survives its encoding, and nothing in them is trusted."""

import pytest

from handlers.image.protocol import (
    MadeFile,
    RefusedPicture,
    RenderedJob,
    Reply,
    Survey,
    UnforeseenFailure,
    decode_reply,
    encode_reply,
)
from media.errors import Code

RENDERED = RenderedJob(
    9, 7, "3OcRJYB4d3h/iIeHeEh3eIhw+j3A", "#aabbcc", "0" * 64, ("a note",), (MadeFile("w150", 9, 7, 40),)
)


@pytest.mark.parametrize(
    "reply", [Survey(5), RENDERED, RefusedPicture(Code.CORRUPT, "why"), UnforeseenFailure("Traceback")]
)
def test_reply_survives_encoding(reply: Reply) -> None:
    assert decode_reply(encode_reply(reply)) == reply


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "{}",
        '{"is": "Survey", "fields": {"memory": "much"}}',
        '{"is": "Other", "fields": {}}',
        '{"is": "RefusedPicture", "fields": {"code": "made_up", "detail": ""}}',
        '{"is": "RenderedJob", "fields": {"width": -1, "files": [], "notes": []}}',
        '{"is": "RenderedJob", "fields": {"width": 1, "height": 1, "files": [], "notes": [], "placeholder": "<p>"}}',
    ],
)
def test_malformed_reply_is_refused(line: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        decode_reply(line)
