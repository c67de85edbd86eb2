"""The examples of docs/api.md, docs/front-ends.md, docs/webinar.md and the README work as they stand there."""

import re
import sys
from pathlib import Path

import pytest

from deploy.local import programs
from media.contracts import WebinarRecording
from tests.acceptance.conftest import jpeg
from tests.conftest import EmbeddedStack
from tests.integration.operate.documentation import ROOT, blocks, own_state, run_command

GUIDE = ROOT / "docs" / "api.md"
PART = 8 * 1024 * 1024


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A folder with a photo and a film."""
    (tmp_path / "photo.jpg").write_bytes(jpeg(2400, 1600))
    picture = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=2"]
    coded = ["-c:v", "libx264", "-preset", "ultrafast", "film.mp4"]
    await run_command(programs.ffmpeg(), "-v", "error", *picture, *coded, cwd=tmp_path)
    return tmp_path


@pytest.mark.timeout(180)
async def test_examples_of_the_api_guide_work(stack: EmbeddedStack, folder: Path) -> None:
    with (folder / "film.mp4").open("ab") as larger:  # an empty box, so that the upload has two parts
        larger.write((PART + 8).to_bytes(4, "big") + b"free" + bytes(PART))
    script = "\n".join(blocks(GUIDE, "sh"))
    for written, here in (
        ("http://localhost:8005", stack.api_url),
        ("./run.sh", str(ROOT / "run.sh")),
        (".local/", f"{stack.state}/"),
    ):
        assert written in script
        script = script.replace(written, here)
    output = await run_command("bash", "-eu", "-c", script, cwd=folder, env=own_state(stack.state))
    lines = output.splitlines()
    assert lines[0] in {"uploaded", "scanning", "processing", "ready"}, "the photo is confirmed"
    assert "'part_number': 2" in lines[1], "the film came in parts"
    assert lines[3] == "ready", "the photo is, as its stream tells"
    assert (folder / "w640.webp").read_bytes()[8:12] == b"WEBP"
    assert "deleted" in lines
    assert re.findall(r'"code":"(\w+)"', output) == ["invalid_request", "not_found"]
    assert re.findall(r'"field":"(\w+)"', output) == ["content_type", "original_filename"]


async def test_examples_of_the_readme_work(stack: EmbeddedStack, folder: Path) -> None:
    [script] = [block for block in blocks(ROOT / "README.md", "sh") if "slot.json" in block]
    script = script.replace("http://localhost:8005", stack.api_url).replace("./run.sh", str(ROOT / "run.sh"))
    output = await run_command("bash", "-eu", "-c", script, cwd=folder, env=own_state(stack.state))
    assert '"rendition":"w640"' in output
    assert '"code":"ready"' in output, "its timeline"


async def test_thirty_lines_without_a_library_are_a_client(stack: EmbeddedStack, folder: Path) -> None:
    [script] = blocks(ROOT / "docs" / "front-ends.md", "python")
    assert len(script.splitlines()) <= 30
    api = f"{stack.api_url}/api/v1/media"
    output = await run_command(sys.executable, "-c", script, api, stack.token(), "photo.jpg", cwd=folder)
    assert re.fullmatch(r"ready \d+ bytes of image/webp\ndeleted\n", output)


async def test_webinar_message_becomes_a_video_of_the_host(stack: EmbeddedStack, folder: Path) -> None:
    page = ROOT / "docs" / "webinar.md"
    assert set(WebinarRecording.model_fields) == set(re.findall(r"(?m)^\| `(\w+)` \|", page.read_text()))
    [script] = blocks(page, "sh")
    for written, here in (
        (".local/", f"{stack.state}/"),
        (".venv/", f"{ROOT}/.venv/"),
        ("./run.sh", str(ROOT / "run.sh")),
        ("http://localhost:8005", stack.api_url),
    ):
        script = script.replace(written, here)
    watching = f'until {script.splitlines()[-1]} | grep \'"status":"ready"\'; do sleep 0.5; done'
    output = await run_command("bash", "-eu", "-c", f"{script}\n{watching}", cwd=folder, env=own_state(stack.state))
    assert '"delivery":"webinar_vod"' in output
