"""A checkout as small as set-up allows: the real scripts, one package, and a command that tells where it runs."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
SCRIPTS = ("run.sh", "deploy/local/setup.sh", "deploy/local/check_packages.py", "deploy/build.lock", ".python-version")
DEADLINE = 60.0
PYTHON = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")

BASICS = [
    "awk",
    "bash",
    "cat",
    "cksum",
    "date",
    "dirname",
    "env",
    "grep",
    "id",
    "mkdir",
    "mv",
    "readlink",
    "rm",
    "sed",
    "tail",
    "uname",
    "wc",
]
"""The programs that set-up itself is written with."""

TELLS_WHERE_IT_RUNS = """
import json, os, sys
import ours
print(json.dumps({"prefix": sys.prefix, "path": sys.path, "ours": ours.__file__, "optimize": sys.flags.optimize,
                  "environ": dict(os.environ)}))
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended, and what it wrote."""

    status: int
    stdout: str
    stderr: str

    @property
    def told(self) -> Any:
        """What the started command says of itself."""
        assert self.status == 0, self.stderr
        return json.loads(self.stdout)


@dataclass(frozen=True, slots=True)
class Checkout:
    """`folder` has the scripts, `wheels` the packages, `bin` the programs that come first on the PATH."""

    folder: Path
    wheels: Path
    bin: Path

    @property
    def venv(self) -> Path:
        return self.folder / ".venv"

    @property
    def log(self) -> str:
        return (self.folder / ".setup.log").read_text()

    @property
    def site_packages(self) -> Path:
        (folder,) = self.venv.glob("lib/python3*/site-packages")
        return folder

    def env(self) -> dict[str, str]:
        """The environment of somebody who has Python and uv, packages from a folder, and nothing active."""
        return {
            "PATH": f"{self.bin}:{os.defpath}:/usr/sbin",
            "HOME": str(self.bin.parent),
            "LANG": "C.UTF-8",
            "UV_OFFLINE": "1",
            "UV_FIND_LINKS": str(self.wheels),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            "PIP_CONFIG_FILE": os.devnull,
        }

    def run(self, *command: str, env: Mapping[str, str] | None = None) -> Outcome:
        """`./run.sh`, or another command in the checkout, with `env` over the usual one."""
        done = subprocess.run(
            command or ("./run.sh",),
            cwd=self.folder,
            env={**self.env(), **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def lock(self, wheel: Path, digest: str | None = None) -> None:
        """Make `wheel` all that the lock file names."""
        name, version, *_ = wheel.name.split("-")
        digest = digest or hashlib.sha256(wheel.read_bytes()).hexdigest()
        (self.folder / "requirements.lock").write_text(f"{name}=={version} \\\n    --hash=sha256:{digest}\n")

    def add_program(self, name: str, script: str) -> Path:
        return add_program(self.bin / name, script)


def make_checkout(folder: Path) -> Checkout:
    """Make a checkout whose project is the package `ours`, 1.0."""
    made = Checkout(folder / "checkout", folder / "wheels", folder / "bin")
    for each in (made.folder / "deploy" / "local", made.wheels, made.bin):
        each.mkdir(parents=True)
    for name in SCRIPTS:
        shutil.copy(ROOT / name, made.folder / name)
    (made.folder / "deploy" / "local" / "__main__.py").write_text(TELLS_WHERE_IT_RUNS)
    (made.folder / "pyproject.toml").write_text('[project]\nname = "p"\nversion = "0"\ndependencies = ["ours>=1"]\n')
    made.lock(make_wheel(made.wheels, "ours", "1.0", {"ours/__init__.py": ""}))
    (made.bin / PYTHON.name).symlink_to(PYTHON)
    (made.bin / "uv").symlink_to(installed_uv())
    return made


def make_wheel(folder: Path, name: str, version: str, files: Mapping[str, str]) -> Path:
    """Make a wheel of pure Python in `folder`. What is below `<name>-<version>.data/scripts` becomes a program."""
    info = f"{name}-{version}.dist-info"
    metadata = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*files, *metadata, f"{info}/RECORD"))
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**files, **metadata, f"{info}/RECORD": record}.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = 0o100755 << 16  # scripts must be executable; it harms nothing else
            archive.writestr(entry, text)
    return wheel


def add_program(path: Path, script: str) -> Path:
    """Make a program of a shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def only(checkout: Checkout, *names: str) -> dict[str, str]:
    """An environment whose PATH has these programs and the checkout's alone. Set-up looks into /usr/sbin as well."""
    (checkout.bin / PYTHON.name).unlink(missing_ok=True)
    for name in names:
        found = shutil.which(name)
        if found is None:
            checkout.add_program(name, "exit 0")
        elif not (checkout.bin / name).exists():
            (checkout.bin / name).symlink_to(found)
    return {"PATH": str(checkout.bin)}


def installed_uv() -> Path:
    """The uv that set up this very environment."""
    beside = ((folder / ".tools" / "bin" / "uv") for folder in (ROOT, (ROOT / ".venv").resolve().parent))
    found = next((each for each in beside if each.exists()), None) or shutil.which("uv")
    assert found, "set-up has left no uv"
    return Path(found)


def tree(folder: Path) -> dict[str, tuple[int, str]]:
    """Every file below `folder` with its mode and its content: two trees are equal when nothing was touched."""
    found = {}
    for path in sorted(folder.rglob("*")):
        content = str(path.readlink()) if path.is_symlink() else path.read_bytes().hex() if path.is_file() else ""
        found[str(path.relative_to(folder))] = (path.lstat().st_mode, content)
    return found
