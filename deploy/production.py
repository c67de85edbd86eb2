"""Write production's part of requirements.lock, with its licenses and its SBOM: `python -m deploy.production`.

The files are deploy/production.lock (the entries of the lock file that `[project] dependencies` reach, with hashes),
docs/licences.md and deploy/sbom.json (CycloneDX 1.5). With `--check` nothing is written; exit status 1 means that one
of them is out of date. `--audit` asks the Open Source Vulnerabilities database about every version.
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

from deploy.wheels import Library, libraries

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
OSV = "https://api.osv.dev/v1/querybatch"
AUDIT_DEADLINE = 30.0
"""Seconds until the vulnerability database must have answered."""
ANSWER_LIMIT = 16 * 1024 * 1024
"""Maximum bytes of its answer. A longer one is cut, and then is not valid."""
_ENTRY = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)")


@dataclass(frozen=True, slots=True)
class Package:
    """A package that production installs, with the license that its metadata states and its lines in the lock file.

    `libraries` are the compiled ones that its wheel holds.
    """

    name: str
    version: str
    license: str
    entry: str
    libraries: list[Library]


class AuditError(Exception):
    """The vulnerability database cannot be reached, or its answer is not valid."""


class Vulnerability(BaseModel):
    """One entry of the OSV database."""

    id: str


class Result(BaseModel):
    """The known vulnerabilities of one version. Without any, OSV sends an empty object."""

    vulns: list[Vulnerability] = []


class Answer(BaseModel):
    """The results for a batch of queries, in the order of the queries."""

    results: list[Result]


def packages() -> list[Package]:
    """Return all packages that production installs, by name. Needs an environment made from the lock file."""
    entries = dict(_entries(LOCK.read_text()))
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = sorted(_closure([Requirement(text) for text in wanted], set(entries)))
    return [
        Package(name, entries[name][0], stated_license(metadata.metadata(name)), entries[name][1], libraries(name))
        for name in names
    ]


def _entries(text: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the name of each pinned package, with its version and all its lines."""
    for block in re.split(r"\n(?=\S)", text.strip()):
        if match := _ENTRY.match(block):
            yield canonicalize_name(match["name"]), (match["version"], block)


def _closure(wanted: list[Requirement], known: set[str]) -> set[str]:
    """Return the names of the required packages and of their dependencies, as far as the lock file has them."""
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


def stated_license(about: Any) -> str:
    """Return the license expression, else the classifiers, else the first line of the license field."""
    classifiers = [c.rsplit(" :: ", 1)[-1] for c in about.get_all("Classifier", []) if c.startswith("License ::")]
    stated = about.get("License-Expression") or ", ".join(c for c in classifiers if c != "OSI Approved")
    first = (about.get("License") or "").strip().splitlines()
    return str(stated or (first[0] if first else "unknown"))


def lock(found: list[Package]) -> str:
    """Return the production lock file."""
    return (
        "# Generated from requirements.lock by `python -m deploy.production`: what `[project] dependencies` reach.\n"
        + "".join(f"{package.entry}\n" for package in found)
    )


def licenses(found: list[Package]) -> str:
    """Return the list of licenses, for people."""
    rows = "".join(f"| {p.name} | {p.version} | {p.license} |\n" for p in found)
    bundled = "".join(f"| {x.name} | {x.version} | {p.name} | {x.license} |\n" for p in found for x in p.libraries)
    return (
        "# Licenses\n\nGenerated by `python -m deploy.production`: the Python packages in the image, each with the"
        " license that it states. The image\nalso holds Debian's packages, each with its copyright file in"
        " `/usr/share/doc`: `python -m deploy.images sbom TAG` lists\nall of them from the image's layers. ffmpeg (GPL)"
        " and bubblewrap (LGPL) run as separate programs; clamd (GPL) is in the\nscanner's image. The page ships hls.js"
        " (Apache-2.0).\n\n| package | version | license |\n|---|---|---|\n"
        f"{rows}\n## Libraries inside the wheels\nFrom the wheels' own files, not from what they state. The version is"
        f" that of the file name.\n\n| library | version | in | license |\n|---|---|---|---|\n{bundled}"
    )


def sbom(found: list[Package]) -> str:
    """Return the software bill of materials, for machines."""
    components = [
        component(p.name, p.version, p.license, "pypi")
        | ({"components": [component(x.name, x.version, x.license) for x in p.libraries]} if p.libraries else {})
        for p in found
    ]
    return bill_of_materials(components)


def bill_of_materials(components: list[dict[str, Any]]) -> str:
    """Return a CycloneDX document of these components."""
    head = {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1}
    return json.dumps(head | {"components": components}, indent=1) + "\n"


def component(name: str, version: str, license_name: str, kind: str = "") -> dict[str, Any]:
    """Return a component of a bill of materials. `kind` is the start of its package URL: `pypi`, `deb/debian`."""
    stated = {"type": "library", "name": name, "version": version, "licenses": [{"license": {"name": license_name}}]}
    return stated | ({"purl": f"pkg:{kind}/{name}@{version}"} if kind else {})


FILES = {
    ROOT / "deploy" / "production.lock": lock,
    ROOT / "docs" / "licences.md": licenses,
    ROOT / "deploy" / "sbom.json": sbom,
}


def outdated() -> list[str]:
    """Return the names of the files that differ from the lock file."""
    found = packages()
    return [path.name for path, make in FILES.items() if not path.is_file() or path.read_text() != make(found)]


def vulnerabilities(found: list[Package]) -> dict[str, list[str]]:
    """Return the ids of known vulnerabilities, by package. Raises AuditError when OSV gives no valid answer."""
    queries = [{"package": {"name": p.name, "ecosystem": "PyPI"}, "version": p.version} for p in found]
    request = Request(OSV, json.dumps({"queries": queries}).encode(), {"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=AUDIT_DEADLINE) as response:  # noqa: S310 - a constant
            body = response.read(ANSWER_LIMIT)
    except (OSError, HTTPException) as error:
        raise AuditError(f"{OSV} cannot be reached: {type(error).__name__}: {error}") from error
    try:
        results = Answer.model_validate_json(body).results
    except ValidationError as error:
        raise AuditError(f"{OSV} sent no valid results: {body[:100]!r}") from error
    if len(results) != len(found):
        raise AuditError(f"{OSV} answered {len(results)} of {len(found)} queries")
    return {
        p.name: [entry.id for entry in result.vulns] for p, result in zip(found, results, strict=True) if result.vulns
    }


def main(arguments: list[str]) -> int:
    """Write, check or audit; exit status 0 done, 1 out of date or vulnerable, 2 wrong usage, 3 no valid answer."""
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
            try:
                known = vulnerabilities(packages())
            except AuditError as error:
                sys.stderr.write(f"{error}\n")
                return 3
            sys.stderr.write("".join(f"{name}: {', '.join(ids)}\n" for name, ids in known.items()))
            return 1 if known else 0
    sys.stderr.write("usage: python -m deploy.production [--check | --audit]\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
