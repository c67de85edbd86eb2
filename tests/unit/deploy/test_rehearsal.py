"""What a rehearsal reads: the README's commands, the file of parameters, and the Dockerfile."""

import json
import os
import subprocess
import sys
from pathlib import Path

from deploy.local.rehearsal.commands import PARAMETERS, README, blocks
from deploy.local.rehearsal.image import ROOT, lay_out
from deploy.local.rehearsal.stand_ins import CORRECTED, STAND_INS, changes
from deploy.local.rehearsal.templates import PARTS, TEMPLATES, template

REPLACED = """
import json, sys
from ministack import app
from deploy.local import emulator_process
from deploy.local.rehearsal import emulator_process as rehearsal

def state():
    modules = {name: module for name, module in sys.modules.items() if name.startswith("ministack.")}
    found = {name.removeprefix("ministack."): dict(vars(module)) for name, module in modules.items()}
    return found, dict(rehearsal._HANDLERS)

app.main = lambda: None
(modules, handlers), _ = state(), rehearsal.register()
emulator_process.main()
now, types = state()
print(json.dumps([
    [f"{name}.{key}" for name, held in modules.items() for key in held if now[name][key] is not held[key]],
    [kind for kind, handler in types.items() if handler is not handlers.get(kind)],
]))
"""


def test_readme_deploys_every_template_with_the_file_that_it_copies() -> None:
    copying, deploying = blocks(README.read_text())
    assert copying == f"cp deploy/cloudformation/parameters.json {PARAMETERS}\n"
    assert f"for part in {' '.join(PARTS)}; do" in deploying
    assert f"file://{PARAMETERS}" in deploying
    assert {path.stem for path in TEMPLATES.glob("*.yaml")} == set(PARTS)


def test_runbook_types_the_same_commands() -> None:
    _, deploying = blocks(README.read_text())
    page = (ROOT / "docs" / "runbook.md").read_text().splitlines()
    typed = {line.strip() for line in deploying.replace("prod", "$ENV").splitlines()}
    assert typed <= {line.strip() for line in page}


def test_file_of_parameters_names_all_that_have_no_default() -> None:
    given = {entry.partition("=")[0] for entry in json.loads((TEMPLATES / "parameters.json").read_text())}
    declared = {name: declaration for part in PARTS for name, declaration in template(part)["Parameters"].items()}
    required = {name for name, declaration in declared.items() if "Default" not in declaration}
    assert required <= given <= declared.keys()


def test_every_correction_of_the_emulator_is_printed() -> None:
    """Compare the emulator's modules before and after: whatever is replaced is in the list."""
    ran = subprocess.run([sys.executable, "-c", REPLACED], cwd=ROOT, capture_output=True, check=True, timeout=60)
    replaced, kinds = json.loads(ran.stdout)
    listed = [name for _, names in CORRECTED.values() for name in names]
    assert sorted(replaced) == sorted(listed)
    assert set(kinds) == {*STAND_INS, "AWS::CloudWatch::Alarm", "AWS::Events::Archive"}
    assert CORRECTED.keys() | set(STAND_INS) <= changes().keys()


def test_image_holds_what_the_dockerfile_copies(tmp_path: Path) -> None:
    scanner = lay_out("scanner", tmp_path / "scanner", os.environ)
    assert {path.name for path in (scanner.root / "app").iterdir()} == {"media", "handlers"}
    assert (scanner.root / "etc" / "clamav" / "clamd.conf").is_file()
    image = lay_out("service", tmp_path / "service", os.environ)
    held = {path.name for path in (image.root / "app").iterdir()}
    assert {"api", "consumer", "handlers", "media", "healthy.py", "schema.sql"} <= held
    assert not {"deploy", "tests"} & held
    assert image.variables["TMPDIR"] == "/scratch"
