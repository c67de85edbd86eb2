"""Change the queue core in one place at a time, and count how many of the changes its unit tests notice.

cosmic-ray makes the mutants. Each is tried in a fork of this process, which has imported already what they need.
"""

import argparse
import difflib
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest
import structlog

ROOT = Path(__file__).parents[2]
CORE = Path("consumer/queue")
TESTS = Path("tests/unit/consumer/queue")
TOOL = ROOT / ".tools/cosmic-ray/bin/python"
MADE_BY = Path(__file__).with_name("peers") / "mutations.py"
PLUGINS = ("pytest_asyncio.plugin", "pytest_timeout", "_hypothesis_pytestplugin")
"""The tests need no other, and to import all those that are installed takes longer than the tests."""
IMPORTED_BEFORE = ("hypothesis", "prometheus_client", "media.aws.sqs", "media.telemetry", *PLUGINS)
"""Modules that are the same for all mutants. None of them imports the queue core."""
CPU_FACTOR, CPU_SPARE = 2, 5
"""A mutant that loops is ended after so many times the CPU time of the unchanged code, and so many seconds more."""
UNCHANGED_LIMIT = 600
"""Seconds of CPU for the unchanged code."""
MEMORY = 4 << 30
"""Bytes of a mutant at most."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A file of the core with one change."""

    path: str
    operator: str
    source: str

    @property
    def module(self) -> str:
        return self.path.removesuffix(".py").replace("/", ".")

    @property
    def diff(self) -> str:
        before = (ROOT / self.path).read_text().splitlines()
        lines = list(difflib.unified_diff(before, self.source.splitlines(), n=0, lineterm=""))[2:]
        place = re.search(r"-(\d+)", lines[0])
        return "\n".join([f"{self.path}:{place and place[1]} ({self.operator})", *(f"  {line}" for line in lines[1:])])


class _Loader(importlib.machinery.SourceFileLoader):
    """Imports the mutant's source in the place of the file's."""

    def __init__(self, mutant: Mutant) -> None:
        super().__init__(mutant.module, str(ROOT / mutant.path))
        self._source = mutant.source

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._source, self.get_filename(fullname), "exec")


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the mutant's module. The others are found as always."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._mutant.module:
            return None
        return importlib.util.spec_from_file_location(fullname, self._mutant.path, loader=_Loader(self._mutant))


def drop(_logger: object, _method: str, _event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Render no log: traces take more time than the tests."""
    raise structlog.DropEvent


def make(seed: str, number: int) -> list[Mutant]:
    """Make a sample of mutants. Raises CalledProcessError and OSError."""
    paths = [str(path) for path in sorted(CORE.glob("*.py"))]
    command = [str(TOOL), str(MADE_BY), seed, str(number), *paths]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [Mutant(**json.loads(line)) for line in made.stdout.splitlines()]


def tests_for(mutant: Mutant | None) -> list[str]:
    """Order the files of tests: those named after the module first, the generated answers last."""
    stem = Path(mutant.path).stem if mutant else ""
    files = sorted(TESTS.glob("test_*.py"), key=lambda file: ("odd" in file.stem, stem not in file.stem, file.stem))
    return [str(file) for file in files]


def run_tests(mutant: Mutant | None, cpu_limit: float) -> int:
    """Run the core's tests in this process, without output. Returns pytest's status."""
    resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_limit), int(cpu_limit)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    if mutant:
        sys.meta_path.insert(0, _Finder(mutant))
    plugins = [argument for plugin in PLUGINS for argument in ("-p", plugin)]
    options = ["--exitfirst", "--noconftest", "--hypothesis-seed=0", "--timeout=120"]
    return pytest.main([*plugins, *options, *tests_for(mutant)])


def fork(mutant: Mutant | None, cpu_limit: float) -> int:
    """Start the tests of a mutant in a child process; return its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        status = run_tests(mutant, cpu_limit)
    finally:
        os._exit(status)


def measure_unchanged() -> float:
    """Return the seconds of CPU that the tests of the unchanged code take. Raises RuntimeError if they fail."""
    _, status, usage = os.wait4(fork(None, UNCHANGED_LIMIT), 0)
    if status:
        raise RuntimeError(f"the tests of the unchanged code fail: python -m pytest {TESTS}")
    return usage.ru_utime + usage.ru_stime


def try_all(mutants: Sequence[Mutant], jobs: int, cpu_limit: float) -> Iterator[tuple[Mutant, bool]]:
    """Yield each mutant, and whether it was noticed."""
    running: dict[int, Mutant] = {}
    waiting = list(reversed(mutants))
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            running[fork(mutant, cpu_limit)] = mutant
        child, status = os.wait()
        yield running.pop(child), status != 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.sh bench mutants", description=__doc__)
    parser.add_argument("--sample", type=int, default=200, metavar="N", help="places to change (default: %(default)s)")
    parser.add_argument("--seed", default=str(random.randrange(10**6)), help="the sample's (default: a new one)")  # noqa: S311 - no secret
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="mutants tried at once (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args()
    os.chdir(ROOT)
    if not TOOL.exists():
        parser.error("cosmic-ray is missing: ./run.sh bench mutants installs it")
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        prepare(folder)
        return measure(options)


def prepare(folder: str) -> None:
    """Import and set once what all forks need. Hypothesis keeps the examples that it finds in `folder`."""
    os.environ |= {"HYPOTHESIS_STORAGE_DIRECTORY": folder, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    for name in IMPORTED_BEFORE:
        importlib.import_module(name)
    structlog.configure(processors=[drop])
    gc.freeze()


def measure(options: argparse.Namespace) -> int:
    """Try a sample; print the mutants that are left as they are found, then the numbers."""
    mutants = make(options.seed, options.sample)
    began, cpu = time.monotonic(), measure_unchanged()
    took = time.monotonic() - began
    left = []
    for tried, (mutant, is_noticed) in enumerate(try_all(mutants, options.jobs, cpu * CPU_FACTOR + CPU_SPARE), 1):
        print(f"\r{tried} of {len(mutants)} ", end="", file=sys.stderr, flush=True)
        if not is_noticed:
            left.append(mutant.diff)
            print(f"{mutant.diff}\n", file=sys.stderr if options.json else sys.stdout, flush=True)
    noticed = len(mutants) - len(left)
    if options.json:
        print(json.dumps({"seed": options.seed, "mutants": len(mutants), "noticed": noticed, "left": left}))
    else:
        print(f"seed {options.seed}: {noticed} of {len(mutants)} noticed, {noticed / max(1, len(mutants)):.1%}")
        print(f"the tests of the unchanged code: {took:.1f} s, {cpu:.1f} s of CPU")
    return 0


if __name__ == "__main__":
    sys.exit(main())
