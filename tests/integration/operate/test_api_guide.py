"""What a developer does by docs/api.md, docs/webinar.md or the README alone: their examples, as they stand there."""

import re
from pathlib import Path

import pytest

from deploy.local import programs
from media.contracts import WebinarRecording
from tests.acceptance.conftest import jpeg
from tests.conftest import EmbeddedStack
from tests.integration.operate.test_stranger import ROOT, blocks, ended, own_state

GUIDE = ROOT / "docs" / "api.md"
PART = 8 * 1024 * 1024


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """Where somebody has a photo and a film."""
    (tmp_path / "photo.jpg").write_bytes(jpeg(2400, 1600))
    picture = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=2"]
    coded = ["-c:v", "libx264", "-preset", "ultrafast", "film.mp4"]
    await ended(programs.ffmpeg(), "-v", "error", *picture, *coded, cwd=tmp_path)
    return tmp_path


@pytest.mark.timeout(180)
async def test_the_examples_do_what_they_say(stack: EmbeddedStack, folder: Path) -> None:
    with (folder / "film.mp4").open("ab") as larger:  # a box of nothing, so that it comes in two parts
        larger.write((PART + 8).to_bytes(4, "big") + b"free" + bytes(PART))
    script = "\n".join(blocks(GUIDE, "sh"))
    for written, here in (
        ("http://localhost:8005", stack.api_url),
        ("./run.sh", str(ROOT / "run.sh")),
        (".local/", f"{stack.state}/"),
    ):
        assert written in script
        script = script.replace(written, here)
    said = await ended("bash", "-eu", "-c", script, cwd=folder, env=own_state(stack.state))
    lines = said.splitlines()
    assert lines[0] in {"uploaded", "scanning", "processing", "ready"}, "the photo is confirmed"
    assert "'part_number': 2" in lines[1], "the film came in parts"
    assert lines[3] == "ready", "the photo is, as its stream tells"
    assert (folder / "w640.webp").read_bytes()[8:12] == b"WEBP"
    assert "deleted" in lines
    assert re.findall(r'"code":"(\w+)"', said) == ["invalid_request", "not_found"]
    assert re.findall(r'"field":"(\w+)"', said) == ["content_type", "original_filename"]


async def test_the_walk_in_the_readme_does_too(stack: EmbeddedStack, folder: Path) -> None:
    [script] = [block for block in blocks(ROOT / "README.md", "sh") if "slot.json" in block]
    script = script.replace("http://localhost:8005", stack.api_url).replace("./run.sh", str(ROOT / "run.sh"))
    said = await ended("bash", "-eu", "-c", script, cwd=folder, env=own_state(stack.state))
    assert '"rendition":"w640"' in said
    assert '"code":"ready"' in said, "its timeline"


async def test_the_webinar_services_message_makes_a_video_of_its_host(stack: EmbeddedStack, folder: Path) -> None:
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
    said = await ended("bash", "-eu", "-c", f"{script}\n{watching}", cwd=folder, env=own_state(stack.state))
    assert '"delivery":"webinar_vod"' in said
