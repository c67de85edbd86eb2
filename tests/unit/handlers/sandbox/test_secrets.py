"""Without namespaces, as on Fargate: no process of the image shows a child its secrets.

The programs are this machine's, with the rights that the image gives its user.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
SEARCH = ROOT / "tests" / "fakes" / "secret_search.py"
SECRET = "made-up-secret-that-nobody-may-read"
# The consumer as far as it matters here: it holds secrets in its environment and its memory, and starts a child.
DAEMON = """
import asyncio, dataclasses, json, os, sys
from pathlib import Path
from handlers.sandbox import process, run_limited
without = dataclasses.replace(process.probe(), namespaces=())
process.probe = lambda: without
held = os.environ["MEDIA_DATABASE_URL"] * 2
asked = json.load(sys.stdin)
asked["pids"] += [os.getpid(), os.getppid()]
done = asyncio.run(run_limited(
    [sys.argv[1], "-I", sys.argv[2]], timeout=30, memory=1 << 30, cpu_seconds=30, file_bytes=1 << 20,
    cwd=Path(sys.argv[3]), stdin=json.dumps(asked).encode()))
sys.stderr.write(done.stderr.decode())
print(json.dumps({"pids": asked["pids"], "places": done.stdout.decode().splitlines()}))
sys.exit(done.returncode)
"""


class Credentials(BaseHTTPRequestHandler):
    """The credentials of a task: they are at a path that nobody guesses. The health check is never answered."""

    ended = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/livez":
            self.ended.wait(30)
        body = SECRET.encode() if SECRET in self.path else b""
        self.send_response(200 if body else 404)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def credentials() -> Iterator[str]:
    """The address of a server that answers as the one for a task's credentials."""
    Credentials.ended.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Credentials) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"127.0.0.1:{server.server_port}"
        Credentials.ended.set()
        server.shutdown()


def image_mode() -> int:
    """The rights on tini and Python that the Dockerfile leaves to its user, as the mode of a file of one's own."""
    found = re.search(r"chmod 0(\d{3}) \S+command -v tini.+command -v python", (ROOT / "deploy/Dockerfile").read_text())
    assert found
    return int(found[1], 8) % 8 * 0o111


def programs(folder: Path, mode: int) -> tuple[str, str]:
    """Copy tini and this Python, with its packages, and set their mode."""
    tini = shutil.which("tini")
    assert tini, "set-up installs tini"
    shutil.copy(tini, folder / "tini")
    (folder / "bin").mkdir()
    shutil.copy(Path(sys.executable).resolve(), folder / "bin/python")
    shutil.copy(Path(sys.prefix, "pyvenv.cfg"), folder)
    (folder / "lib").symlink_to(Path(sys.prefix, "lib"))
    for name in ("tini", "bin/python"):
        (folder / name).chmod(mode)
    return str(folder / "tini"), str(folder / "bin/python")


@pytest.mark.parametrize("readable", [True, False], ids=["readable", "as in the image"])
def test_a_child_finds_secrets_only_if_the_programs_can_be_read(
    readable: bool, credentials: str, tmp_path: Path
) -> None:
    tini, python = programs(tmp_path, 0o555 if readable else image_mode())
    (tmp_path / "work").mkdir()
    # Root without capabilities is an ordinary user for what is asked here, and can read the checkout wherever it is.
    # `setpriv` itself still has them when it executes the next program, so that is `env`.
    powerless = ("--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
    user = ("setpriv", *powerless, "--no-new-privs", "--", "env")
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR")),
        "MEDIA_DATABASE_URL": f"postgresql://media:{SECRET}@postgres/media",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": f"/v2/credentials/{SECRET}",
        "MEDIA_CONSUMER_HOST": "127.0.0.1",
        "MEDIA_CONSUMER_PORT": credentials.rpartition(":")[2],
    }
    with subprocess.Popen([*user, python, str(ROOT / "deploy/healthy.py"), "consumer"], env=env) as health:
        asked = {"secret": SECRET, "pids": [health.pid], "folders": [str(tmp_path / "work")], "hosts": [credentials]}
        entry = json.loads(re.findall(r"(?m)^ENTRYPOINT (.+)$", (ROOT / "deploy/Dockerfile").read_text())[0])
        daemon = (python, "-c", DAEMON, sys.executable, str(SEARCH), str(tmp_path / "work"))
        done = subprocess.run(
            [*user, *(tini if part == "tini" else part for part in entry), *daemon],
            input=json.dumps(asked),
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert health.poll() is None, "the health check must run while the child looks"
        health.kill()
    told = json.loads(done.stdout.splitlines()[-1])
    assert len(told["pids"]) == 3
    everywhere = {f"{pid} {place}" for pid in told["pids"] for place in ("environ", "mem", "ptrace")}
    assert set(told["places"]) >= (everywhere if readable else set())
    assert readable or not told["places"]
