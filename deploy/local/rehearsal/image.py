"""Our images as folders: this working tree, laid out as deploy/Dockerfile says."""

import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local import programs

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"


@dataclass(frozen=True, slots=True)
class Image:
    """The image's variables and the folder that stands for its `/`; `path` is the PATH of a container."""

    root: Path
    variables: Mapping[str, str]
    path: str


def lay_out(target: str, folder: Path, environ: Mapping[str, str]) -> Image:
    """Link the files that a stage of the Dockerfile copies into `folder`. Raises PartError where ffmpeg is missing.

    A file that the Dockerfile forgets is missing here too.
    """
    tools = folder / "bin"
    tools.mkdir(parents=True)
    instructions = _instructions(DOCKERFILE.read_text(), target)
    for sources, name in _copies(instructions):
        for source in sources:
            place = folder / (name + Path(source).name if name.endswith("/") else name).strip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(ROOT / source)
    for name, program in (("ffmpeg", programs.ffmpeg(environ)), ("ffprobe", programs.ffprobe(environ))):
        (tools / name).symlink_to(program)
    path = ":".join([str(tools), str(Path(sys.executable).parent), environ.get("PATH") or "/usr/bin:/bin", "/usr/sbin"])
    return Image(folder, {name: value for name, value in _variables(instructions) if name != "PATH"}, path)


def _instructions(text: str, target: str) -> list[str]:
    """Return the instructions of one stage, each on one line."""
    _, _, stage = re.sub(r"\\\n\s*", " ", text).partition(f" AS {target}\n")
    return stage.partition("\nFROM ")[0].splitlines()


def _copies(instructions: list[str]) -> list[tuple[list[str], str]]:
    """Return sources and target of each COPY from the working tree."""
    found = [shlex.split(line)[1:] for line in instructions if line.startswith("COPY ") and "--from=" not in line]
    return [(words[:-1], words[-1]) for words in found]


def _variables(instructions: list[str]) -> list[tuple[str, str]]:
    words = [word for line in instructions if line.startswith("ENV ") for word in shlex.split(line)[1:]]
    return [(name, value) for name, _, value in (word.partition("=") for word in words)]
