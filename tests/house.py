"""Count what keeps the code base readable: `python -m tests.house`.

Modules side by side in a folder, public classes that share a name, functions, private helpers used once, long
functions, lines. `tests/unit/test_house.py` holds the numbers.
"""

import ast
import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("api", "consumer", "handlers", "media")
"""The service. Its stand-ins and tools, in `deploy`, count by their lines only."""
LONGEST_FUNCTION = 60
"""Lines of a function, from `def` to its end."""
RETIRED_WORDS = {
    r"\b[Ll]anes?\b": "queue worker",
    r"\b[Ss]ettlers?\b": "acknowledger",
    r"\bInbox\b|\broomy\b|\bhold_back\b": "prefetch buffer, has_room, pause",
    r"\bput_back\b|\bgoes_back\b": "release, requeues",
    r"\bhand_on\b|\bhanded_on\b|\bbury\b|\bburied\b": "relinquish, dead_letter",
    r"\bLAST_WORDS\b": "RELEASE_RESERVE",
    r"\b[Rr]osters?\b": "presence",
    r"\bseldom\(": "gc_tuning.relax",
    r"\bcarriers\b|\bcarry_out\b|\bleave_once\b": "dispatchers, dispatch, enqueue_once",
    r"\b[Ss]weepers?\b|\bLeftovers\b|\bUnswept\b": "output cleanup, orphaned outputs, stale stage",
    r"\bUpkeep\b|\bstill\(\)": "stage maintenance, find_stalled",
    r"\bDeadLetterDesk\b|\bPile\b|\bTally\b": "DeadLetterService, ReasonGroup",
    r"\b[Ww]itness(es)?\b": "stream inspector",
    r"\b[Cc]anar(y|ies)\b|\b_?[Pp]ulse\(": "self-test, liveness",
    r"\b[Cc]omplaints?\b": "stderr line, FfprobeError",
    r"\b[Ss]hipments?\b|\bShipped\b": "segment uploader, uploaded segments",
    r"\bkept_sounds\b|\bchosen_sound\b": "select_audio, plan_audio",
    r"\bown_folder\b": "process_tempdir",
    r"\bsecrecy\b|\bhide_from_own_user\b": "hardening, set_undumpable",
    r"\bone_shot\b": "run_once",
    r"\bunless_known\b|\bturn_away\b": "not_modified_if, reject_while_draining",
    r"\btold_at\b|\bat_last\b": "notified_at, code_when_exhausted",
    r"\b[Cc]olours?\b|\b[Bb]ehaviours?\b|\b[Ll]icences?\b(?!\.md)": "American spelling",
}
"""Words that were replaced by the field's terms (`docs/glossary.md`): a pattern, and what to write instead."""
PUBLIC_SPELLINGS = re.compile(r"colour_ignored|on colours|profile of greys|\bCONTRIBUTING|smpte|licence")
"""Lines that hold such a word for a reason: it is stored, public, or another program's."""


@dataclass(frozen=True, slots=True)
class Function:
    """One function or method. `uses` counts the references to its name in its module, outside its own body."""

    path: Path
    name: str
    line: int
    lines: int
    uses: int

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line} {self.name}"

    @property
    def is_private(self) -> bool:
        return self.name.startswith("_") and not self.name.startswith("__")


@dataclass(frozen=True, slots=True)
class Report:
    """What was counted. `folders` maps a folder to its modules, `classes` a public name that stands twice to paths."""

    folders: dict[str, int]
    classes: dict[str, list[str]]
    functions: list[Function]
    lines: int

    @property
    def used_once(self) -> list[Function]:
        """Private functions and methods with a single reference."""
        return [function for function in self.functions if function.is_private and function.uses == 1]

    @property
    def long(self) -> list[Function]:
        return [function for function in self.functions if function.lines > LONGEST_FUNCTION]


def survey() -> Report:
    """Read every module of the service once."""
    folders: Counter[str] = Counter()
    classes: defaultdict[str, list[str]] = defaultdict(list)
    functions: list[Function] = []
    for path in _modules(*PACKAGES):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        folders[str(path.parent.relative_to(ROOT))] += path.name != "__init__.py"
        functions += _functions(path, tree)
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].append(str(path.relative_to(ROOT)))
    twice = {name: places for name, places in sorted(classes.items()) if len(places) > 1}
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in _modules(*PACKAGES, "deploy"))
    return Report(dict(folders), twice, functions, lines)


def _modules(*packages: str) -> Iterator[Path]:
    for package in packages:
        yield from sorted((ROOT / package).rglob("*.py"))


def _functions(path: Path, tree: ast.Module) -> Iterator[Function]:
    everywhere = _references(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            uses = everywhere[node.name] - _references(node)[node.name]
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            yield Function(path, node.name, node.lineno, lines, uses)


def _references(tree: ast.AST) -> Counter[str]:
    names = (node for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute))
    return Counter(node.id if isinstance(node, ast.Name) else node.attr for node in names)


def retired_words() -> Iterator[str]:
    """Find words that nobody should meet any more, as `file:line: word, write …`."""
    any_word = re.compile("|".join(RETIRED_WORDS))
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(_is_read_by_people, listed.split("\0")):
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1):
            if not any_word.search(line):
                continue
            for pattern, better in RETIRED_WORDS.items():
                found = re.search(pattern, line)
                if found and not PUBLIC_SPELLINGS.search(line):
                    yield f"{name}:{number}: {found.group()}, write {better}"


def _is_read_by_people(name: str) -> bool:
    """Say whether a file is code, test or page of ours: no copy of a released schema, and not the list of words."""
    written = name.endswith((".py", ".md", ".js", ".html", ".css", ".yaml", ".sh"))
    return written and "/schemas/" not in name and name not in {"tests/house.py", "docs/style.md"}


def main() -> None:
    report = survey()
    print("Modules side by side:")
    for folder, count in sorted(report.folders.items(), key=lambda item: -item[1]):
        print(f"  {count:4} {folder}")
    print("Public classes of the same name:")
    for name, places in report.classes.items():
        print(f"  {name}: {', '.join(places)}")
    print(f"Functions: {len(report.functions)}; longer than {LONGEST_FUNCTION} lines: {len(report.long)}")
    print(f"Private functions used once: {len(report.used_once)}")
    for function in report.used_once:
        print(f"  {function}")
    print("Retired words:")
    for found in retired_words():
        print(f"  {found}")
    print(f"Lines of Python without tests: {report.lines}")


if __name__ == "__main__":
    main()
