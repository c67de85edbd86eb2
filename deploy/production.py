"""The part of requirements.lock that production needs, and what is to be known of it: `python -m deploy.production`.

Writes deploy/production.lock (the entries of the lock file that `[project] dependencies` reach, hashes included),
docs/licences.md and deploy/sbom.json (CycloneDX 1.5). With `--check` nothing is written; exit status 1 says that one of
them is out of date. `--audit` asks the Open Source Vulnerabilities database about every version.
"""

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pydantic import BaseModel, ValidationError

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
OSV = "https://api.osv.dev/v1/querybatch"
AUDIT_DEADLINE = 30.0
"""Seconds for the vulnerability database's answer."""
ANSWER_LIMIT = 16 * 1024 * 1024
"""Bytes of it; one that is longer is cut, and then is no answer."""
_ENTRY = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)")


@dataclass(frozen=True, slots=True)
class Package:
    """A package that production installs, its licence as the package itself states it, and its lines in the lock."""

    name: str
    version: str
    licence: str
    entry: str


class AuditError(Exception):
    """The vulnerability database cannot be asked, or what it says is no answer."""


class Known(BaseModel):
    """One entry of the OSV database."""

    id: str


class Result(BaseModel):
    """What is known against one version. Nothing is an empty object."""

    vulns: list[Known] = []


class Answer(BaseModel):
    """Of a batch of questions, in their order."""

    results: list[Result]


def packages() -> list[Package]:
    """Everything that production installs, by name. Needs an environment made from the lock file."""
    entries = dict(_entries(LOCK.read_text()))
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = sorted(_closure([Requirement(text) for text in wanted], set(entries)))
    return [_package(name, entries[name]) for name in names]


def _package(name: str, entry: str) -> Package:
    match = _ENTRY.match(entry)
    if match is None:
        raise ValueError(f"not an entry of a lock file: {entry[:80]!r}")
    return Package(name, match["version"], _licence(metadata.metadata(name)), entry)


def _entries(text: str) -> Iterator[tuple[str, str]]:
    """Each pinned package of a lock file with all its lines."""
    for block in re.split(r"\n(?=\S)", text.strip()):
        if match := _ENTRY.match(block):
            yield canonicalize_name(match["name"]), block


def _closure(wanted: list[Requirement], known: set[str]) -> set[str]:
    """What the requirements need, and what that needs; only what the lock file knows."""
    found: set[str] = set()
    wanted = [requirement for requirement in wanted if _applies(requirement, {""})]
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        extras = requirement.extras or {""}
        if name not in known or (name in found and extras == {""}):
            continue
        found.add(name)
        for text in metadata.requires(name) or []:
            inner = Requirement(text)
            if _applies(inner, extras):
                wanted.append(inner)
    return found


def _applies(requirement: Requirement, extras: set[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)


def _licence(about: Any) -> str:
    """The licence expression, else the classifiers, else the first line of the licence field."""
    classifiers = [c.rsplit(" :: ", 1)[-1] for c in about.get_all("Classifier", []) if c.startswith("License ::")]
    stated = about.get("License-Expression") or ", ".join(c for c in classifiers if c != "OSI Approved")
    first = (about.get("License") or "").strip().splitlines()
    return str(stated or (first[0] if first else "unknown"))


def lock(found: list[Package]) -> str:
    """The production lock file."""
    return (
        "# Made from requirements.lock by `python -m deploy.production`: what `[project] dependencies` reach.\n"
        + "".join(f"{package.entry}\n" for package in found)
    )


def licences(found: list[Package]) -> str:
    """The list of licences, for people."""
    rows = "".join(f"| {p.name} | {p.version} | {p.licence} |\n" for p in found)
    return (
        "# Licences\n\nMade by `python -m deploy.production`: the Python packages in the image, by what each says of"
        " itself. Beside them the\nimage holds Debian's packages (ffmpeg is GPL there, and runs as a program of its"
        " own; clamd, GPL, in the scanner's image), each\nwith its copyright file in `/usr/share/doc`. The page ships"
        " hls.js (Apache-2.0).\n\n| package | version | licence |\n|---|---|---|\n" + rows
    )


def sbom(found: list[Package]) -> str:
    """The bill of materials, for machines."""
    components = [
        {
            "type": "library",
            "name": p.name,
            "version": p.version,
            "purl": f"pkg:pypi/{p.name}@{p.version}",
            "licenses": [{"license": {"name": p.licence}}],
        }
        for p in found
    ]
    head = {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1}
    return json.dumps(head | {"components": components}, indent=1) + "\n"


FILES = {
    ROOT / "deploy" / "production.lock": lock,
    ROOT / "docs" / "licences.md": licences,
    ROOT / "deploy" / "sbom.json": sbom,
}


def outdated() -> list[str]:
    """The files that do not say what the lock file says."""
    found = packages()
    return [path.name for path, make in FILES.items() if not path.is_file() or path.read_text() != make(found)]


def vulnerabilities(found: list[Package]) -> dict[str, list[str]]:
    """What the OSV database knows against these versions, by package. Raises AuditError when it does not say."""
    queries = [{"package": {"name": p.name, "ecosystem": "PyPI"}, "version": p.version} for p in found]
    request = Request(OSV, json.dumps({"queries": queries}).encode(), {"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=AUDIT_DEADLINE) as answer:  # noqa: S310 - a constant
            said = answer.read(ANSWER_LIMIT)
    except (OSError, HTTPException) as error:
        raise AuditError(f"{OSV} cannot be asked: {type(error).__name__}: {error}") from error
    try:
        results = Answer.model_validate_json(said).results
    except ValidationError as error:
        raise AuditError(f"{OSV} answered something else than results: {said[:100]!r}") from error
    if len(results) != len(found):
        raise AuditError(f"{OSV} answered {len(results)} of {len(found)} questions")
    return {
        p.name: [entry.id for entry in result.vulns] for p, result in zip(found, results, strict=True) if result.vulns
    }


def _audit() -> int:
    try:
        known = vulnerabilities(packages())
    except AuditError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    for name, ids in known.items():
        sys.stderr.write(f"{name}: {', '.join(ids)}\n")
    return 1 if known else 0


def main(arguments: list[str]) -> int:
    """Exit status 0 done, 1 out of date or vulnerable, 2 wrong usage, 3 the database gave no answer."""
    match arguments:
        case []:
            found = packages()
            for path, make in FILES.items():
                path.write_text(make(found))
            return 0
        case ["--check"]:
            names = outdated()
            sys.stderr.write("".join(f"{name} is out of date: run python -m deploy.production\n" for name in names))
            return 1 if names else 0
        case ["--audit"]:
            return _audit()
    sys.stderr.write("usage: python -m deploy.production [--check | --audit]\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
