"""Whatever is active or set where `./run.sh` is started, set-up ends in `.venv`, and what is active stays as it is."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.integration.setup.checkout import PYTHON, Checkout, add_program, make_wheel, tree


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment of another project: with another `ours`, and a package that no lock of ours names."""
    folder = tmp_path_factory.mktemp("theirs") / "env"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python3*/site-packages")
    for name in ("ours", "precious"):
        (site / name).mkdir()
        (site / name / "__init__.py").write_text("raise ImportError('not of this project')\n")
        (site / f"{name}-9.dist-info").mkdir()
        (site / f"{name}-9.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9\n")
        (site / f"{name}-9.dist-info" / "RECORD").write_text(f"{name}/__init__.py,,\n")
    return folder


def site_packages(env: Path) -> Path:
    (folder,) = env.glob("lib/python3*/site-packages")
    return folder


def venv(theirs: Path, checkout: Checkout) -> Mapping[str, str]:
    return {"VIRTUAL_ENV": str(theirs), "PATH": f"{theirs}/bin:{checkout.env()['PATH']}"}


def conda(theirs: Path, checkout: Checkout) -> Mapping[str, str]:
    path = f"{theirs}/bin:{checkout.env()['PATH']}"
    return {"CONDA_PREFIX": str(theirs), "CONDA_DEFAULT_ENV": theirs.name, "CONDA_SHLVL": "1", "PATH": path}


def pyenv(theirs: Path, checkout: Checkout) -> Mapping[str, str]:
    """Shims run nothing: the version that is asked for has no such command. The true Python is not on the PATH."""
    root = checkout.bin.parent / "pyenv"
    for name in ("python", "python3", "python3.12", "python3.13", "python3.14"):
        add_program(root / "shims" / name, 'echo "pyenv: $0: command not found" >&2\nexit 127')
    there = root / "versions" / f"{PYTHON.name.removeprefix('python')}.0" / "bin"
    there.mkdir(parents=True)
    (there / "python3").symlink_to(PYTHON)
    (checkout.bin / PYTHON.name).unlink()
    path = f"{root}/shims:{checkout.env()['PATH']}"
    return {"PYENV_ROOT": str(root), "PYENV_VERSION": "theirs", "PYENV_VIRTUAL_ENV": str(theirs), "PATH": path}


def uv(theirs: Path, _: Checkout) -> Mapping[str, str]:
    return {
        "UV_PROJECT_ENVIRONMENT": str(theirs),
        "UV_PYTHON": f"{theirs}/bin/python",
        "UV_SYSTEM_PYTHON": "1",
        "UV_TARGET": str(site_packages(theirs)),
        "UV_PREFIX": str(theirs),
        "VIRTUAL_ENV": str(theirs),
    }


def uv_file(theirs: Path, checkout: Checkout) -> Mapping[str, str]:
    """What the environment cannot do, a file of the user may."""
    settings = checkout.bin.parent / "config" / "uv" / "uv.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(f'[pip]\nsystem = true\ntarget = "{site_packages(theirs)}"\n')
    return {"XDG_CONFIG_HOME": str(settings.parents[1])}


def uv_file_of_the_system(theirs: Path, checkout: Checkout) -> Mapping[str, str]:
    """The same in another folder that uv reads, as an inline table."""
    settings = checkout.bin.parent / "xdg" / "uv" / "uv.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(f"pip = {{ target = '{site_packages(theirs)}' }}\n")
    return {"XDG_CONFIG_DIRS": f"/nonexistent:{settings.parents[1]}"}


def python(theirs: Path, checkout: Checkout) -> Mapping[str, str]:
    """Each of these stops a Python that believes it, or makes it import what is theirs."""
    (checkout.bin.parent / "json.py").write_text("raise SystemExit('this json is not for you')\n")
    return {
        "PYTHONHOME": "/nonexistent",
        "PYTHONPATH": f"{checkout.bin.parent}:{site_packages(theirs)}",
        "PYTHONUSERBASE": str(theirs),
        "PYTHONHASHSEED": "abc",
        "PYTHONINTMAXSTRDIGITS": "5",
        "PYTHONOPTIMIZE": "2",
        "PYTHONINSPECT": "1",
    }


@pytest.mark.parametrize("active", [venv, conda, pyenv, uv, uv_file, uv_file_of_the_system, python])
def test_what_is_active_stays_as_it_is(
    active: Callable[[Path, Checkout], Mapping[str, str]], checkout: Checkout, theirs: Path
) -> None:
    before = tree(theirs)
    told = checkout.run(env=active(theirs, checkout)).told
    assert told["prefix"] == str(checkout.venv)
    assert Path(told["ours"]).is_relative_to(checkout.venv)
    assert not [each for each in told["path"] if Path(each).is_relative_to(theirs)]
    assert told["optimize"] == 0
    assert tree(theirs) == before


def test_pip_is_told_where_to_put_uv(checkout: Checkout, theirs: Path) -> None:
    """Without uv, pip gets it; variables and files that redirect pip do not count, those of the source do."""
    real = (checkout.bin / "uv").resolve()
    (checkout.bin / "uv").unlink()
    make_wheel(checkout.wheels, "uv", "99.0", {"uv-99.0.data/scripts/uv": f'#!/bin/sh\nexec {real} "$@"\n'})
    (checkout.bin / "python3").symlink_to(PYTHON)
    before = tree(theirs)
    files = checkout.bin.parent / "pip.conf"
    files.write_text(f"[install]\ntarget = {theirs}\nprefix = {theirs}\nuser = true\n")
    redirected = {
        "PIP_CONFIG_FILE": str(files),
        "PIP_TARGET": str(site_packages(theirs)),
        "PIP_PREFIX": str(theirs),
        "PIP_USER": "1",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PIP_PYTHON": f"{theirs}/bin/python",
        "PATH": f"{theirs}/bin:{checkout.bin}:/usr/sbin:/usr/bin:/bin",
    }
    told = checkout.run(env=redirected).told
    assert told["prefix"] == str(checkout.venv)
    assert (checkout.folder / ".tools" / "bin" / "uv").exists()
    assert tree(theirs) == before


def test_settings_of_the_source_reach_uv_and_those_of_a_target_do_not(checkout: Checkout) -> None:
    kept = {
        "UV_INDEX_URL": "a",
        "UV_INDEX_CORP_PASSWORD": "b",
        "UV_CACHE_DIR": "c",
        "UV_HTTP_TIMEOUT": "d",
        "UV_NATIVE_TLS": "e",
        "PIP_INDEX_URL": "f",
        "PIP_EXTRA_INDEX_URL": "g",
        "PIP_CERT": "h",
        "PIP_TRUSTED_HOST": "i",
        "SSL_CERT_FILE": "j",
        "HTTPS_PROXY": "k",
        "PYTHONUTF8": "1",
    }
    dropped = dict.fromkeys(
        ["UV_PROJECT", "UV_WORKING_DIR", "UV_OVERRIDE", "PIP_CONSTRAINT", "PIP_ROOT", "PIP_DRY_RUN", "PYTHONSTARTUP"],
        "x",
    )
    show = '. deploy/local/setup.sh; exec "$0" -c "import json, os; print(json.dumps(dict(os.environ)))"'
    told = checkout.run("bash", "-c", show, sys.executable, env={**kept, **dropped}).told
    assert {name: told.get(name) for name in kept} == kept
    assert not dropped.keys() & told.keys()


def test_an_index_and_a_certificate_that_only_pip_was_told_of_serve_uv_too(checkout: Checkout) -> None:
    show = '. deploy/local/setup.sh; echo "$UV_DEFAULT_INDEX $SSL_CERT_FILE"'
    env = {"PIP_INDEX_URL": "https://mirror.example/simple", "PIP_CERT": "/ca.pem"}
    assert checkout.run("bash", "-euc", show, env=env).stdout == "https://mirror.example/simple /ca.pem\n"
