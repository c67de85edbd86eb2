"""Typed clients, made by the commands of docs/api.md, checked, and used by its examples without mending by hand."""

import json
import os
from pathlib import Path

import pytest

from tests.integration.api.conftest import RunningApi, token
from tests.integration.api.test_many_urls import picture
from tests.integration.operate.documentation import ROOT, blocks, run_command

pytestmark = pytest.mark.generated

GUIDE = ROOT / "docs" / "api.md"
PYTHON = ROOT / ".tools" / "openapi-python-client" / "bin"
NODE = ROOT / ".tools" / "openapi" / "node_modules"
LESSON = "lesson-7"

PYTHON_MAIN = """
import json, sys
from example import announce, describe, urls_of_lesson
from media_client import AuthenticatedClient

client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2])
asset = describe(client, announce(client, "photo.jpg").asset_id, "Sepsis")
urls = {str(asset_id): url for asset_id, url in urls_of_lesson(client, sys.argv[3]).items()}
print(json.dumps([asset.title, asset.metadata.to_dict(), asset.external_id, urls]))
"""
NODE_MAIN = """
import { rename, urlsOfLesson } from "./example.js";

const [api, token, lesson, assetId] = process.argv.slice(2);
console.log(JSON.stringify([await rename(api, token, assetId, "Sepsis"), await urlsOfLesson(api, token, lesson)]));
"""
TSCONFIG = {
    "compilerOptions": {
        "strict": True,
        "target": "es2022",
        "lib": ["es2023", "dom", "dom.iterable"],
        "module": "nodenext",
        "exactOptionalPropertyTypes": True,
        "noUncheckedIndexedAccess": True,
        "types": [],
    },
    "files": ["example.ts"],
}


async def generate(api: RunningApi, folder: Path, number: int) -> str:
    """Run one of the guide's two commands in a folder. Return what it says."""
    [commands] = blocks(GUIDE, "bash")
    command = commands.splitlines()[number].replace("http://localhost:8005/", str(api.http.make_url("/")))
    path = os.pathsep.join([str(PYTHON), os.environ["PATH"]])
    return await run_command("bash", "-eu", "-c", f"{command} 2>&1", cwd=folder, env={"PATH": path})


async def test_python_client_is_typed_and_works(shared_api: RunningApi, tmp_path: Path) -> None:
    said = await generate(shared_api, tmp_path, 0)
    assert said.count("WARNING") == 1, said
    assert "application/vnd.apple.mpegurl" in said
    [example] = blocks(GUIDE, "python")
    (tmp_path / "example.py").write_text(example)
    (tmp_path / "main.py").write_text(PYTHON_MAIN)
    # All but its client.py, which is the generator's own and the same for each API.
    checked = ["example.py", "media_client/api", "media_client/models"]
    options = ["--strict", "--follow-imports=silent", "--python-executable", str(PYTHON / "python")]
    await run_command("mypy", *options, *checked, cwd=tmp_path, env={"PATH": os.environ["PATH"]})
    photo = await picture(shared_api, "python-client", external_id=LESSON)
    address, given = str(shared_api.http.make_url("/")), token("python-client")
    told = json.loads(await run_command(str(PYTHON / "python"), "main.py", address, given, LESSON, cwd=tmp_path))
    assert told[:3] == ["Sepsis", {"course": "12"}, LESSON]
    assert list(told[3]) == [photo]
    assert told[3][photo].startswith("http")


async def test_typescript_client_is_typed_and_works(shared_api: RunningApi, tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(NODE)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    await generate(shared_api, tmp_path, 1)
    [example] = blocks(GUIDE, "ts")
    (tmp_path / "example.ts").write_text(example)
    (tmp_path / "main.js").write_text(NODE_MAIN)
    (tmp_path / "tsconfig.json").write_text(json.dumps(TSCONFIG))
    await run_command("npx", "tsc", "--project", ".", cwd=tmp_path, env={"PATH": os.environ["PATH"]})
    photo = await picture(shared_api, "node-client", external_id=LESSON)
    argv = ["node", "main.js", str(shared_api.http.make_url("/")), token("node-client"), LESSON, photo]
    told = json.loads(await run_command(*argv, cwd=tmp_path, env={"PATH": os.environ["PATH"]}))
    assert told[0] == "Sepsis"
    assert list(told[1]) == [photo]
