"""The command line as a child process, and test files for it."""

import asyncio
import base64
import json
import os
import sys
import zipfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import BaseModel, TypeAdapter

from deploy.local import programs
from deploy.local.clamav import EICAR
from tests.conftest import EmbeddedStack

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "../shared/corpus"
COMMAND_DEADLINE = 150.0


class Rendition(BaseModel):
    name: str
    content_type: str
    width: int | None
    height: int | None
    bytes: int
    url: str
    path: Path | None


class Processed(BaseModel):
    """One element of the output of `process --json`."""

    file: Path
    asset_id: str | None
    asset_type: str | None
    status: str
    code: str | None
    detail: str | None
    width: int | None
    height: int | None
    duration_ms: int | None
    seconds: float
    renditions: list[Rendition]

    def rendition(self, name: str) -> Rendition:
        return next(one for one in self.renditions if one.name == name)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The exit status and output of a command."""

    status: int
    stdout: str
    stderr: str

    @property
    def files(self) -> list[Processed]:
        return TypeAdapter(list[Processed]).validate_json(self.stdout)


async def command(*arguments: str, env: dict[str, str]) -> Outcome:
    """Run one of our Python modules to its end."""
    return await _run_to_end(sys.executable, "-m", *arguments, env=env)


async def command_line(script: str, *arguments: str | Path, state: Path, **env: str) -> Outcome:
    """Run a script of bash in which `"$@"` is the stack's command line on `state` with these arguments."""
    line = ["bash", "-c", script, "bash", sys.executable, "-m", "deploy.local", *map(str, arguments)]
    return await _run_to_end(*line, env={**os.environ, "MEDIA_LOCAL_STATE": str(state), **env})


async def _run_to_end(*arguments: str, env: dict[str, str]) -> Outcome:
    process = await asyncio.create_subprocess_exec(
        *arguments,
        cwd=ROOT,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(COMMAND_DEADLINE):
            stdout, stderr = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    return Outcome(process.returncode or 0, stdout.decode(), stderr.decode())


Process = Callable[..., Coroutine[Any, Any, Outcome]]


def process_on(stack: EmbeddedStack) -> Process:
    """Return a function that runs `process` against a running stack."""

    async def run(*arguments: str | Path) -> Outcome:
        env = {**os.environ, "MEDIA_LOCAL_STATE": str(stack.state)}
        return await command("deploy.local", "process", *map(str, arguments), env=env)

    return run


@pytest.fixture
def process(stack: EmbeddedStack) -> Process:
    return process_on(stack)


async def ffprobe(path: Path) -> Any:
    """Probe a file: `format` and `streams`. Fail the test if ffprobe cannot read it."""
    allowed = ["-allowed_extensions", "ALL"] if path.suffix == ".m3u8" else []
    arguments = ["-v", "error", *allowed, "-show_format", "-show_streams", "-of", "json", str(path)]
    status, output = await _run(programs.ffprobe(), *arguments)
    assert status == 0, output
    return json.loads(output)


async def _run(*arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    return process.returncode or 0, output.decode(errors="replace")


def jpeg(width: int, height: int, seed: int = 0) -> bytes:
    """Make a JPEG of gradients, which is fast to make and compresses like a photo."""
    picture = Image.linear_gradient("L").resize((width, height))
    sideways = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).rotate(seed * 7 % 360)
    merged = Image.merge("RGB", (picture, sideways, Image.new("L", (width, height), seed * 37 % 256)))
    target = BytesIO()
    merged.save(target, "JPEG", quality=90)
    return target.getvalue()


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    path.write_bytes(jpeg(2400, 1600))
    return path


@pytest.fixture(scope="session")
async def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a video of four seconds, 640 × 360, with sound."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    picture = ["-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25:duration=4"]
    sound = ["-f", "lavfi", "-i", "sine=frequency=440:duration=4"]
    coded = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-shortest"]
    status, output = await _run(programs.ffmpeg(), "-v", "error", *picture, *sound, *coded, str(path))
    assert status == 0, output
    return path


@pytest.fixture(scope="session")
async def sound_in_containers_of_films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Make a second of sound without a picture, by the names of the files."""
    folder, coded = tmp_path_factory.mktemp("sound"), {"memo.mov": "aac", "memo.mp4": "aac", "memo.webm": "libopus"}
    outputs = [word for name, codec in coded.items() for word in ("-c:a", codec, str(folder / name))]
    status, output = await _run(programs.ffmpeg(), "-v", "error", "-f", "lavfi", "-i", "sine=duration=1", *outputs)
    assert status == 0, output
    return {name: (folder / name).read_bytes() for name in coded}


def eicar() -> bytes:
    return bytes.fromhex(EICAR)


def zipped(content: bytes) -> bytes:
    target = BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.txt", content)
    return target.getvalue()


def corpus(name: str) -> bytes:
    """Read a file of the shared corpus. Skip the test if the corpus is not there."""
    path = CORPUS / name
    if not path.is_file():
        pytest.skip(f"the shared corpus is not beside the repository: {name}")
    content = path.read_bytes()
    return base64.b64decode(content) if name.endswith(".b64") else content
