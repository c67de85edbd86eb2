"""The messages between the inspector and its child processes: one line of JSON each way."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from media.errors import Code


@dataclass(frozen=True, slots=True)
class InspectionJob:
    """One document to look into. What the child writes goes to `target`."""

    source: str
    target: str

    def encode(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, line: str) -> "InspectionJob":
        return cls(**json.loads(line))


@dataclass(frozen=True, slots=True)
class DocumentReport:
    """The child's report of a document that may be served.

    `written`: the target holds the document without encryption and without what acts. `must_serve_written`: it must be
    served, and not the upload. `removed` maps a kind of thing in words to its number, `repaired` says what was wrong
    with the file.
    """

    pages: int
    written: bool = False
    must_serve_written: bool = False
    repaired: str = ""
    removed: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RefusedDocument:
    """A document that is refused for its own fault: a `Code` and a detail."""

    code: Code
    detail: str


def encode_reply(reply: DocumentReport | RefusedDocument) -> str:
    return json.dumps({"is": type(reply).__name__, "fields": asdict(reply)})


def decode_reply(line: str) -> DocumentReport | RefusedDocument:
    """Decode a reply and check every field: a compromised child may send anything.

    Raises ValueError, KeyError, TypeError or AttributeError when the line is not a reply.
    """
    message = json.loads(line)
    fields = message["fields"]
    if message["is"] == RefusedDocument.__name__:
        return RefusedDocument(Code(fields["code"]), str(fields["detail"])[:500])
    if message["is"] != DocumentReport.__name__:
        raise ValueError("no such reply")
    return DocumentReport(
        pages=int(fields["pages"]),
        written=fields["written"] is True,
        must_serve_written=fields["must_serve_written"] is True,
        repaired=str(fields["repaired"])[:500],
        removed={str(kind)[:100]: int(count) for kind, count in list(fields["removed"].items())[:20]},
    )
