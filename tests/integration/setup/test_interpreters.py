"""Which Python set-up takes: the first of 3.12, 3.13 and 3.14 that is there and runs, wherever it came from."""

from pathlib import Path

import pytest

from tests.integration.setup.checkout import BASICS, Checkout, add_program, only

FIND = '. deploy/local/setup.sh; find_python; echo "$python"'

RUNS = 'test "$4" = {version} && echo "$0"'  # as the probe of set-up does for the version that it is asked for
BROKEN = 'echo "pyenv: $0: command not found" >&2; exit 127'


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        (["bin/python3.14 3.14", "bin/python3.13 3.13", "bin/python3.12 3.12"], "bin/python3.12"),
        (["bin/python3 3.11", "bin/python3.14 3.14"], "bin/python3.14"),
        (["bin/python3 3.13"], "bin/python3"),
        (["bin/python3.12 broken", "bin/python3 broken", "bin/python3.13 3.13"], "bin/python3.13"),
        (["bin/python3 broken", "pyenv/versions/3.13.0/bin/python3 3.13"], "pyenv/versions/3.13.0/bin/python3"),
        (["bin/python3 3.13", "pyenv/versions/3.12.4/bin/python3 3.12"], "pyenv/versions/3.12.4/bin/python3"),
        (["conda/bin/python3 3.12", "bin/python3.13 3.13"], "conda/bin/python3"),
        (["conda/envs/active/bin/python3 3.14"], "conda/envs/active/bin/python3"),
        (["uv/cpython-3.14.2-linux-x86_64-gnu/bin/python3 3.14"], "uv/cpython-3.14.2-linux-x86_64-gnu/bin/python3"),
    ],
)
def test_first_that_runs_is_chosen(checkout: Checkout, tmp_path: Path, there: list[str], chosen: str) -> None:
    env = only(checkout, *BASICS) | {
        "PYENV_ROOT": str(tmp_path / "pyenv"),
        "CONDA_EXE": str(tmp_path / "conda/bin/conda"),
        "CONDA_PREFIX": str(tmp_path / "conda/envs/active"),
        "UV_PYTHON_INSTALL_DIR": str(tmp_path / "uv"),
    }
    for path, version in (each.split() for each in there):
        add_program(tmp_path / path, BROKEN if version == "broken" else RUNS.format(version=version))
    assert checkout.run("bash", "-euo", "pipefail", "-c", FIND, env=env).stdout == f"{tmp_path / chosen}\n"


def test_without_any_python_the_way_out_is_said(checkout: Checkout) -> None:
    """uv's download is the last resort, and may be out of reach."""
    env = only(checkout, *BASICS, "clamd", "prlimit", "setpriv", "unshare", "bwrap", "ffmpeg", "ffprobe")
    (checkout.bin / "uv").unlink(missing_ok=True)
    checkout.add_program("uv", 'test "$2" = --help && echo --clear && exit; echo "dns error" >&2; exit 2')
    failed = checkout.run(env=env)
    assert failed.status == 1
    assert failed.stderr.startswith("downloading Python 3.12, as none from 3.12 to 3.14 is here: failed")
    for word in (
        "dns error",
        ".setup.log",
        "pyenv install 3.12",
        "apt-get install python3",
        "UV_PYTHON_INSTALL_MIRROR",
    ):
        assert word in failed.stderr
