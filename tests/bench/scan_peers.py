"""The peers of the scan benchmark. A missing one is installed into `.tools/`, or reported with the reason."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".tools"
INSTALL_TIMEOUT = 180.0
AIOCLAMD = "aioclamd>=1.0,<2"


@dataclass(frozen=True, slots=True)
class Tool:
    """The path of a tool that the benchmark needs, or the reason why it is missing."""

    path: Path
    missing: str = ""


def clamdscan() -> Tool:
    """Find ClamAV's own client on this machine, or unpack it from its package."""
    if found := shutil.which("clamdscan"):
        return Tool(Path(found))
    home = TOOLS / "clamdscan"
    program = home / "usr/bin/clamdscan"
    if program.exists():
        return Tool(program)
    home.mkdir(parents=True, exist_ok=True)
    missing = _run(["apt-get", "download", "clamdscan"], home)
    for package in home.glob("clamdscan_*.deb"):
        missing = _run(["dpkg", "-x", str(package), str(home)], home)
    return Tool(program, missing)


def aioclamd() -> Tool:
    """Install `aioclamd` and return the folder to import it from."""
    home = TOOLS / "aioclamd"
    packages = home / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    if (packages / "aioclamd").exists():
        return Tool(packages)
    missing = _run([sys.executable, "-m", "venv", str(home)], ROOT)
    return Tool(packages, missing or _run([str(home / "bin/python"), "-m", "pip", "install", "-q", AIOCLAMD], ROOT))


def _run(command: list[str], folder: Path) -> str:
    """Run a command. Return the reason of a failure, or an empty text."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, check=False, cwd=folder)
    except FileNotFoundError:
        return f"{command[0]} is not installed"
    except subprocess.TimeoutExpired:
        return f"installing took longer than {INSTALL_TIMEOUT:g} s"
    return "" if done.returncode == 0 else f"could not be installed: {done.stderr.strip()[-300:]}"
