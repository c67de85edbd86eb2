"""What the renderer and its child processes say to each other: one line of JSON each way."""

import json
import re
from dataclasses import asdict, dataclass
from enum import StrEnum

from media.errors import Code

_BASE64 = re.compile(r"[A-Za-z0-9+/=]{1,64}")
_COLOR = re.compile(r"#[0-9a-f]{6}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class JobKind(StrEnum):
    SURVEY = "survey"
    RENDER = "render"


@dataclass(frozen=True, slots=True)
class RenderJob:
    """One picture to look at or to render. Limits are pixels."""

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
    """One file that was written: `{name}.webp` in the job's folder."""

    name: str
    width: int
    height: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Survey:
    """What the header says: bytes that rendering will need at its peak."""

    memory: int


@dataclass(frozen=True, slots=True)
class RenderedJob:
    """What became of a picture; sizes are those of the upright source."""

    width: int
    height: int
    placeholder: str
    dominant_color: str
    sha256: str
    notes: tuple[str, ...]
    files: tuple[MadeFile, ...]


@dataclass(frozen=True, slots=True)
class RefusedPicture:
    """The picture's own fault: a `Code` and a detail."""

    code: Code
    detail: str


@dataclass(frozen=True, slots=True)
class UnforeseenFailure:
    """An error that nobody foresaw, by its traceback. What a child does depends on nothing but the file."""

    trace: str


type Reply = Survey | RenderedJob | RefusedPicture | UnforeseenFailure


def encode_reply(reply: Reply) -> str:
    return json.dumps({"is": type(reply).__name__, "fields": asdict(reply)})


def decode_reply(line: str) -> Reply:
    """Checks everything, since a child that was taken over may say anything.

    Raises ValueError, KeyError or TypeError when the line is not a reply.
    """
    answer = json.loads(line)
    fields = answer["fields"]
    match answer["is"]:
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
                placeholder=_like(_BASE64, fields["placeholder"]),
                dominant_color=_like(_COLOR, fields["dominant_color"]),
                sha256=_like(_SHA256, fields["sha256"]),
                notes=tuple(str(note) for note in notes),
                files=tuple(
                    MadeFile(str(file["name"]), *(_count(file[name]) for name in ("width", "height", "bytes")))
                    for file in files
                ),
            )
    raise ValueError("no such reply")


def _like(pattern: re.Pattern[str], value: object) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"not like {pattern.pattern}")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or value < 1:
        raise TypeError("a positive number is expected")
    return value
