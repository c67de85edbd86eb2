"""The reply of the inspector's child processes: one line of JSON. A job is the list of its two paths."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from media.errors import Code, RejectedError


@dataclass(frozen=True, slots=True)
class DocumentReport:
    """The child's report of a document that may be served once its bytes are scanned.

    `written`: the target holds the document without encryption and without what acts, to be scanned too.
    `must_serve_written`: it must be served, and not the upload. `removed` maps a kind of thing in words to its number,
    `repaired` says what was wrong with the file.
    """

    pages: int
    written: bool = False
    must_serve_written: bool = False
    repaired: str = ""
    removed: Mapping[str, int] = field(default_factory=dict)


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
    )
