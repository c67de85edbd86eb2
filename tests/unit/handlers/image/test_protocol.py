import pytest

from handlers.image.protocol import RefusedPicture, Survey, UnforeseenFailure, decode_reply, encode_reply
from media.errors import Code


@pytest.mark.parametrize("reply", [Survey(5), RefusedPicture(Code.CORRUPT, "why"), UnforeseenFailure("Traceback")])
def test_a_reply_survives_the_wire(reply: Survey | RefusedPicture | UnforeseenFailure) -> None:
    assert decode_reply(encode_reply(reply)) == reply


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "{}",
        '{"is": "Survey", "fields": {"memory": "much"}}',
        '{"is": "Other", "fields": {}}',
        '{"is": "Refused", "fields": {"code": "made_up", "detail": ""}}',
        '{"is": "Rendered", "fields": {"width": -1, "files": [], "notes": []}}',
        '{"is": "Rendered", "fields": {"width": 1, "height": 1, "placeholder": "<script>", "files": [], "notes": []}}',
    ],
)
def test_what_a_child_says_is_not_taken_for_granted(line: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        decode_reply(line)
