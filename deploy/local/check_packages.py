"""Check that the running environment holds the packages of requirements.lock, and can import our dependencies.

`.venv/bin/python -I deploy/local/check_packages.py` prints the folder of each package's metadata, relative to the
environment. It names missing packages, wrong versions and failed imports on standard error, with exit status 1.
"""

import importlib
import re
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"(?m)^(?P<name>[\w.-]+)==(?P<version>[^\s;]+) *(?:; *(?P<marker>[^\\\n]+))?")
NAME = re.compile(r"[\w.-]+")

type Found = dict[str, tuple[metadata.Distribution, Path]]
"""By normalized name: the package, and the folder of its metadata."""


def packages_here() -> Found:
    """Return the packages in this environment's own folders, whatever else is on the path."""
    folders = {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")}
    found = ((metadata.Distribution.at(at), at) for folder in folders for at in sorted(folder.glob("*.dist-info")))
    return {_normalize(package.name): (package, at) for package, at in found if package.name}


def wrong_packages(lock: str, found: Found) -> Iterator[str]:
    """Describe each package of the lock file for this platform that is missing or has another version."""
    for pin in PIN.finditer(lock):
        name, version = _normalize(pin["name"]), pin["version"]
        if pin["marker"]:
            from packaging.markers import Marker  # noqa: PLC0415 - one of the packages that may be missing

            if not Marker(pin["marker"]).evaluate():
                continue
        if name not in found:
            yield f"{name} is not installed"
        elif found[name][0].version != version:
            yield f"{name} is {found[name][0].version}, not {version}"


def failing_imports(names: list[str], found: Found) -> Iterator[str]:
    """Import the packages, and describe each failure, such as a library that this machine cannot load."""
    for name in names:
        for file in found[name][0].files or ():
            if len(file.parts) == 2 and file.name == "__init__.py" and not file.parts[0].startswith("_"):  # noqa: PLR2004
                try:
                    importlib.import_module(file.parts[0])
                except (ImportError, OSError) as error:
                    yield f"{name} cannot be imported: {error}"


def _normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """Check the environment; exit status 0 when nothing is missing."""
    found = packages_here()
    wrong = list(wrong_packages((ROOT / "requirements.lock").read_text(), found))
    if not wrong:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        named = [match[0] for text in project["dependencies"] if (match := NAME.match(text))]
        wrong = list(failing_imports([_normalize(name) for name in named], found))
    for line in wrong:
        sys.stderr.write(f"{line}\n")
    for _, folder in found.values():
        print(folder.relative_to(sys.prefix))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
