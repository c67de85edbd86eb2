"""The messages between the page renderer and its child processes: one line of JSON each way."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from handlers.image.protocol import COLOR, THUMBHASH, MadeFile, decode_file, require_match
from media.errors import Code, RejectedError


@dataclass(frozen=True, slots=True)
class PageJob:
    """One page to render, by its number from 1.

    `as_preview`: in the sizes of a picture. `as_page`: as `page-NUMBER`, too.
    """

    source: str
    out_dir: str
    number: int
    as_preview: bool
    as_page: bool

    def encode(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, line: str) -> "PageJob":
        return cls(**json.loads(line))


@dataclass(frozen=True, slots=True)
class RenderedPage:
    """The files of a page; its placeholder and dominant color as those of a picture."""

    files: tuple[MadeFile, ...]
    placeholder: str
    dominant_color: str


def encode_reply(reply: RenderedPage | RejectedError) -> str:
    if isinstance(reply, RejectedError):
        return json.dumps({"code": reply.code, "detail": reply.detail[:500]})
    return json.dumps(asdict(reply))


def decode_reply(line: str) -> RenderedPage | RejectedError:
    """Decode a reply and check every field: a compromised child may send anything.

    Raises ValueError, KeyError or TypeError when the line is not a reply.
    """
    fields: dict[str, Any] = json.loads(line)
    if "code" in fields:
        return RejectedError(Code(fields["code"]), str(fields["detail"])[:500])
    if not isinstance(fields["files"], list):
        raise TypeError("a list is expected")
    return RenderedPage(
        files=tuple(map(decode_file, fields["files"])),
        placeholder=require_match(THUMBHASH, fields["placeholder"]),
        dominant_color=require_match(COLOR, fields["dominant_color"]),
    )
