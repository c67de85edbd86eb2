"""The messages between the renderer and its child processes: one line of JSON each way."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

from media.errors import Code

THUMBHASH = re.compile(r"[A-Za-z0-9+/=]{1,64}")
COLOR = re.compile(r"#[0-9a-f]{6}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class JobKind(StrEnum):
    """Whether a picture is only measured, or rendered."""

    SURVEY = "survey"
    RENDER = "render"


@dataclass(frozen=True, slots=True)
class RenderJob:
    """One picture to measure or to render. Limits are pixels."""

    kind: JobKind
    source: str
    content_type: str
    out_dir: str
    max_pixels: int
    max_total_pixels: int

    def encode(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, line: str) -> "RenderJob":
        fields = json.loads(line)
        return cls(**{**fields, "kind": JobKind(fields["kind"])})


@dataclass(frozen=True, slots=True)
class MadeFile:
    """One rendition that was written: `{name}.webp` in the job's folder. Sizes are pixels and bytes."""

    name: str
    width: int
    height: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Survey:
    """The estimate from the header: bytes of memory that rendering needs at its peak."""

    memory: int


@dataclass(frozen=True, slots=True)
class RenderedJob:
    """A rendered picture. Sizes are those of the upright source, in pixels."""

    width: int
    height: int
    placeholder: str
    dominant_color: str
    sha256: str
    notes: tuple[str, ...]
    files: tuple[MadeFile, ...]


@dataclass(frozen=True, slots=True)
class RefusedPicture:
    """A picture that is refused for its own fault: a `Code` and a detail."""

    code: Code
    detail: str


@dataclass(frozen=True, slots=True)
class UnforeseenFailure:
    """An unforeseen error, by its traceback. A child's work depends on the file alone, so a retry may meet it again."""

    trace: str


type Reply = Survey | RenderedJob | RefusedPicture | UnforeseenFailure


def encode_reply(reply: Reply) -> str:
    return json.dumps({"is": type(reply).__name__, "fields": asdict(reply)})


def decode_reply(line: str) -> Reply:
    """Decode a reply and check every field: a compromised child may send anything.

    Raises ValueError, KeyError or TypeError when the line is not a reply.
    """
    message = json.loads(line)
    fields = message["fields"]
    match message["is"]:
        case Survey.__name__:
            return Survey(memory=int(fields["memory"]))
        case RefusedPicture.__name__:
            return RefusedPicture(Code(fields["code"]), str(fields["detail"]))
        case UnforeseenFailure.__name__:
            return UnforeseenFailure(str(fields["trace"]))
        case RenderedJob.__name__:
            files, notes = fields["files"], fields["notes"]
            if not isinstance(files, list) or not isinstance(notes, list):
                raise TypeError("lists are expected")
            return RenderedJob(
                width=_count(fields["width"]),
                height=_count(fields["height"]),
                placeholder=require_match(THUMBHASH, fields["placeholder"]),
                dominant_color=require_match(COLOR, fields["dominant_color"]),
                sha256=require_match(_SHA256, fields["sha256"]),
                notes=tuple(str(note) for note in notes),
                files=tuple(map(decode_file, files)),
            )
    raise ValueError("no such reply")


def decode_file(fields: Mapping[str, object]) -> MadeFile:
    """Decode one file of a reply. Raises KeyError or TypeError."""
    return MadeFile(str(fields["name"]), *(_count(fields[name]) for name in ("width", "height", "bytes")))


def require_match(pattern: re.Pattern[str], value: object) -> str:
    """Return `value`. Raises ValueError when it is no text of this form."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"not like {pattern.pattern}")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or value < 1:
        raise TypeError("a positive number is expected")
    return value
