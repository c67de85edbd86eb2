"""The reply of the inspector's child processes: one line of JSON. A job is the list of its two paths."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from media.asset import DocumentInfo
from media.errors import Code, RejectedError

INFO_LIMIT = 255
"""Characters of a document's title or author that are kept."""


@dataclass(frozen=True, slots=True)
class DocumentReport:
    """The child's report of a document that may be served once its bytes are scanned.

    `written`: the target holds the document without encryption and without what acts, to be scanned too.
    `must_serve_written`: it must be served, and not the upload. `removed` maps a kind of thing in words to its number,
    `repaired` says what was wrong with the file, `info` what the document says of itself.
    """

    pages: int
    written: bool = False
    must_serve_written: bool = False
    repaired: str = ""
    removed: Mapping[str, int] = field(default_factory=dict)
    info: DocumentInfo | None = None


def encode_reply(reply: DocumentReport | RejectedError) -> str:
    if isinstance(reply, RejectedError):
        return json.dumps({"code": reply.code, "detail": reply.detail})
    return json.dumps(asdict(reply))


def decode_reply(line: str) -> DocumentReport | RejectedError:
    """Decode a reply and check every field: a compromised child may send anything.

    Raises ValueError, KeyError, TypeError or AttributeError when the line is not a reply.
    """
    fields = json.loads(line)
    if "code" in fields:
        return RejectedError(Code(fields["code"]), str(fields["detail"])[:500])
    return DocumentReport(
        pages=int(fields["pages"]),
        written=fields["written"] is True,
        must_serve_written=fields["written"] is fields["must_serve_written"] is True,
        repaired=str(fields["repaired"])[:500],
        removed={str(kind)[:100]: int(count) for kind, count in list(fields["removed"].items())[:20]},
        info=decode_info(fields["info"]) if fields["info"] else None,
    )


def decode_info(fields: dict[str, str | None]) -> DocumentInfo:
    """Decode what a document says of itself. Raises ValueError or KeyError."""
    texts = {name: str(text)[:INFO_LIMIT] for name in ("title", "author") if (text := fields[name])}
    times = {
        name: datetime.fromisoformat(str(time)).astimezone(UTC).isoformat()
        for name in ("created", "modified")
        if (time := fields[name])
    }
    return DocumentInfo(**texts, **times)
