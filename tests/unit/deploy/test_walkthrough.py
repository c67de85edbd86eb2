"""The walkthrough names files and what stands in them: each must be there, or the reader is led nowhere."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NAMED = re.compile(r"`([\w/]+\.py)`(?:, `([\w.]+)`)?")
"""A file and, after a comma, a class, a function, a method or a constant in it."""


def definitions(path: Path) -> set[str]:
    """Names at the top of a module, and those of its classes as `Class.name`."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.ClassDef(name=name, body=body):
                found |= {name, *(f"{name}.{one.name}" for one in body if isinstance(one, _FUNCTIONS))}
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
    return found


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
PAGES = ["docs/walkthrough.md", "CONTRIBUTING.md", "docs/glossary.md"]


@pytest.mark.parametrize("page", PAGES)
def test_each_named_file_and_definition_is_there(page: str) -> None:
    named = NAMED.findall((ROOT / page).read_text())
    assert named
    for file, name in named:
        path = ROOT / file
        assert path.is_file(), file
        assert not name or name in definitions(path), f"{name} is not in {file}"


def test_what_the_readme_points_to_is_there() -> None:
    text = (ROOT / "README.md").read_text()
    section = text[text.index("## Where things are") :].split("\n## ")[0]
    paths = [path for path in re.findall(r"`([\w/.]+)`", section) if "/" in path or path.endswith((".py", ".sql"))]
    assert len(paths) > 20
    for path in paths:
        assert (ROOT / path).exists(), path
