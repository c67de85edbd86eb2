"""The peers of the image benchmark. Each is a server: a line with a JSON list of [source, folder] in, "ok" out.

The pictures of one line are rendered at the same time. Peers that are not ours are installed into `.tools/` on demand.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".tools"
INSTALL_TIMEOUT = 300.0
SHARP = "sharp@0.34"
PYVIPS = "pyvips[binary]>=3,<4"

_SHARP_SERVER = """
const sharp = require('sharp'), fs = require('fs');
const one = async ([source, folder]) => {
  const meta = await sharp(source).metadata();
  const width = (meta.orientation || 1) >= 5 ? meta.height : meta.width;
  const base = sharp(source).rotate();
  const widths = [150, 320, 640, 1024, 1920].filter((w, i, all) => i === 0 || all[i - 1] < width);
  await Promise.all(widths.map(w => base.clone().resize({width: w, withoutEnlargement: true})
    .webp({quality: 80, effort: 4}).toFile(`${folder}/w${w}.webp`)));
};
require('readline').createInterface({input: process.stdin}).on('line', async line => {
  await Promise.all(JSON.parse(line).map(one));
  fs.writeSync(1, 'ok\\n');
});
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer and the command that starts its server, or the reason why it is missing."""

    name: str
    command: tuple[str, ...]
    missing: str = ""


def peers() -> list[Peer]:
    """List the peers, ours first. A peer that cannot be installed has the reason."""
    ours = Peer("ours", (sys.executable, "-m", "tests.bench.image_servers", "ours"))
    plain = Peer("plain-pillow", (sys.executable, "-m", "tests.bench.image_servers", "plain"))
    return [ours, plain, _sharp(), _pyvips()]


def _sharp() -> Peer:
    home = TOOLS / "sharp"
    missing = ""
    if not (home / "node_modules/sharp").exists():
        missing = _install(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(home), SHARP], "npm")
    if not missing:
        (home / "server.cjs").write_text(_SHARP_SERVER, encoding="utf-8")
    return Peer("sharp", ("node", str(home / "server.cjs")), missing)


def _pyvips() -> Peer:
    home = TOOLS / "pyvips"
    python = home / "bin/python"
    missing = ""
    if not (home / "installed").exists():
        missing = _install([sys.executable, "-m", "venv", str(home)], sys.executable)
        missing = missing or _install([str(python), "-m", "pip", "install", "-q", PYVIPS], str(python))
        if not missing:
            (home / "installed").touch()
    return Peer("pyvips", (str(python), str(Path(__file__).with_name("image_pyvips.py"))), missing)


def _install(command: list[str], tool: str) -> str:
    """Run an installation. Return the reason of a failure, or an empty text."""
    if shutil.which(tool) is None:
        return f"{tool} is not installed"
    TOOLS.mkdir(exist_ok=True)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, check=False, cwd=ROOT)
    except subprocess.TimeoutExpired:
        return f"installing took longer than {INSTALL_TIMEOUT:g} s"
    return "" if done.returncode == 0 else f"could not be installed: {done.stderr.strip()[-300:]}"


def line_of(jobs: list[tuple[Path, Path]]) -> bytes:
    """Encode one line for a server."""
    return json.dumps([[str(source), str(folder)] for source, folder in jobs]).encode() + b"\n"
