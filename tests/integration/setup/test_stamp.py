"""Set-up is believed to be done only while `.venv` is what it was when set-up had looked."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.setup.checkout import PYTHON, Checkout, make_checkout, make_wheel, tree


def empty(checkout: Checkout) -> None:
    shutil.rmtree(checkout.site_packages)
    (checkout.venv / "lib" / PYTHON.name / "site-packages").mkdir()


def lose_the_interpreter(checkout: Checkout) -> None:
    """As after the removal of the Python that it was made with."""
    (checkout.venv / "bin" / "python").unlink()
    (checkout.venv / "bin" / "python").symlink_to("/nonexistent/python3")


def lose_its_configuration(checkout: Checkout) -> None:
    """Without pyvenv.cfg, its interpreter is that of the system."""
    (checkout.venv / "pyvenv.cfg").unlink()


def change_the_lock(checkout: Checkout) -> None:
    checkout.lock(make_wheel(checkout.wheels, "ours", "2.0", {"ours/__init__.py": ""}))


@pytest.mark.parametrize("damage", [empty, lose_the_interpreter, lose_its_configuration, change_the_lock])
def test_what_no_longer_matches_is_set_up_again(checkout: Checkout, damage: Callable[[Checkout], None]) -> None:
    assert checkout.run().status == 0
    damage(checkout)
    told = checkout.run().told
    assert (told["prefix"], Path(told["ours"]).parents[1]) == (str(checkout.venv), checkout.site_packages)


def test_second_start_does_and_says_nothing(checkout: Checkout) -> None:
    first = checkout.run()
    assert [line.partition(":")[0] for line in first.stderr.splitlines()[1:]] == [
        "installing 1 Python packages",
        "checking that they are in .venv",
    ]
    before = tree(checkout.folder)
    second = checkout.run()
    assert (second.status, second.stderr) == (0, "")
    assert {name: one for name, one in tree(checkout.folder).items() if "__pycache__" not in name} == {
        name: one for name, one in before.items() if "__pycache__" not in name
    }


def test_copied_checkout_gets_an_environment_of_its_own(checkout: Checkout, tmp_path: Path) -> None:
    """The scripts of a copied one start the interpreter of the first."""
    assert checkout.run().status == 0
    copy = Checkout(tmp_path / "copy", checkout.wheels, checkout.bin)
    shutil.copytree(checkout.folder, copy.folder, symlinks=True)
    assert copy.run().told["prefix"] == str(copy.venv)
    assert str(checkout.venv) not in (copy.venv / "bin" / "activate").read_text()


def test_linked_environment_is_used_but_never_changed(checkout: Checkout, tmp_path: Path) -> None:
    assert checkout.run().status == 0
    other = make_checkout(tmp_path / "other")
    other.venv.symlink_to(checkout.venv)
    assert other.run().told["ours"].startswith(str(other.venv))
    change_the_lock(other)
    before = tree(checkout.venv)
    refused = other.run()
    assert refused.status == 1
    assert f".venv is a link to {checkout.venv}" in refused.stderr
    assert tree(checkout.venv) == before


def test_environment_that_somebody_made_is_refused_and_not_changed(checkout: Checkout) -> None:
    """It would lose what the lock does not name."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(checkout.venv)], check=True, timeout=60)
    (checkout.venv / "notes.txt").write_text("mine")
    before = tree(checkout.venv)
    refused = checkout.run()
    assert refused.status == 1
    assert ".venv holds an environment that was not made here" in refused.stderr
    assert tree(checkout.venv) == before


def test_failure_shows_the_end_of_the_log_and_leaves_no_stamp(checkout: Checkout) -> None:
    wheel = next(checkout.wheels.iterdir())
    checkout.lock(wheel, digest="0" * 64)
    for _ in range(2):  # the second start must not believe the first
        failed = checkout.run()
        assert failed.status == 1
        assert "Hash mismatch" in failed.stderr
        assert f"the whole output: {checkout.folder}/.setup.log" in failed.stderr
        assert "Hash mismatch" in checkout.log
    checkout.lock(wheel)
    assert checkout.run().status == 0


def test_package_that_cannot_be_imported_is_named(checkout: Checkout) -> None:
    """It is installed, and of no use on this machine."""
    checkout.lock(
        make_wheel(checkout.wheels, "ours", "3.0", {"ours/__init__.py": "import ctypes; ctypes.CDLL('libx.so.7')"})
    )
    failed = checkout.run()
    assert failed.status == 1
    assert "ours cannot be imported: libx.so.7" in failed.stderr
    assert checkout.run().status == 1
