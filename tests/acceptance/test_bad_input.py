"""Hostile and broken files are rejected with a code, and other files are still processed."""

from collections.abc import Mapping
from pathlib import Path

import aiohttp

from tests.acceptance.conftest import Process, corpus, eicar, jpeg, zipped
from tests.conftest import EmbeddedStack

INFECTED = {"infected"}
PLAYLIST = b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"


def infected_files() -> Mapping[str, bytes]:
    return {
        "eicar.jpg": eicar(),
        "eicar.pdf": zipped(eicar()),
        "polyglot.png": corpus("malware/png-with-clam-zip-appended.png.b64"),
        "appended.jpg": jpeg(64, 64) + zipped(eicar()),
    }


def broken_files(clip: Path) -> Mapping[str, tuple[bytes, set[str]]]:
    """Return content and allowed codes by file name."""
    whole = clip.read_bytes()
    moovless = whole[: whole.index(b"moov") - 4]  # A moov box that is only renamed would be found by ffmpeg.
    return {
        "text.jpg": (b"This is not a picture.\n" * 50, {"type_mismatch", "unsupported"}),
        "truncated.jpg": (jpeg(1200, 800)[:20_000], {"corrupt"}),
        "empty.png": (b"", {"empty"}),
        "moovless.mp4": (moovless, {"corrupt"}),
        "playlist.mp4": (PLAYLIST, {"type_mismatch", "unsupported"}),
    }


def write(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in files]


async def test_malware_is_rejected_as_infected(process: Process, photo: Path, tmp_path: Path) -> None:
    paths = write(tmp_path, infected_files())
    outcome = await process("--json", "--out", tmp_path / "out", *paths, photo)
    assert outcome.status == 0, outcome.stderr
    *bad, good = outcome.files
    assert {one.file.name: (one.status, one.code) for one in bad} == {
        path.name: ("rejected", "infected") for path in paths
    }
    assert all(not one.renditions for one in bad)
    assert good.status == "ready", "the good file is processed all the same"


async def test_broken_files_are_rejected_with_a_code(process: Process, photo: Path, clip: Path, tmp_path: Path) -> None:
    broken = broken_files(clip)
    outcome = await process("--json", *write(tmp_path, {name: content for name, (content, _) in broken.items()}), photo)
    assert outcome.status == 0, outcome.stderr
    *bad, good = outcome.files
    assert good.status == "ready"
    for one in bad:
        assert one.status == "rejected", one
        assert one.code in broken[one.file.name][1], one


async def test_infected_file_has_a_timeline_and_its_original_is_not_served(
    process: Process, stack: EmbeddedStack, tmp_path: Path
) -> None:
    (bad,) = (await process("--json", *write(tmp_path, {"eicar.jpg": eicar()}))).files
    base = f"{stack.api_url}/api/v1/media/assets/{bad.asset_id}"
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {stack.token('local')}"}) as http:
        timeline = await (await http.get(f"{base}/timeline")).json()
        refused = await http.get(f"{base}/url", params={"rendition": "original"})
    assert "infected" in {entry["code"] for entry in timeline["items"]}
    assert refused.status in {404, 409}
