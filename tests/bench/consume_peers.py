"""The consumers of the consume benchmark: how each is started, and which packages it needs."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.consume_ours import POLLERS
from tests.bench.notifications import notification

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".tools"
PEERS = Path(__file__).with_name("peers")
VENV = TOOLS / "bench-venv"
NODE = TOOLS / "node"
REGION = "us-east-1"
INSTALL_TIMEOUT = 600.0
WRAP_TIMEOUT = 60.0
BODIES = 1000
"""Number of different notifications. A queue repeats them."""
PYTHON_PACKAGES = {"taskiq-aio-sqs": "taskiq_aio_sqs", "dramatiq-sqs": "dramatiq_sqs", "celery[sqs]": "celery"}
NODE_PACKAGES = ("sqs-consumer", "@aws-sdk/client-sqs")


@dataclass(frozen=True, slots=True)
class Peer:
    """A consumer to measure: the command that drains a queue by its URL, and the form of its messages."""

    name: str
    command: Callable[[str], Sequence[str]]
    wrap: Sequence[str] = ()
    prepare: Callable[[], str] | None = None
    slow: bool = False

    def missing(self) -> str:
        """Install what the peer needs. Return the reason of a failure, or an empty text."""
        return self.prepare() if self.prepare else ""

    def bodies(self) -> list[str]:
        """Make the messages for its queue. Raises CalledProcessError and TimeoutExpired."""
        plain = [notification(number) for number in range(BODIES)]
        if not self.wrap:
            return plain
        lines = "".join(json.dumps(body) + "\n" for body in plain)
        wrapped = subprocess.run(
            self.wrap,
            input=lines,
            capture_output=True,
            text=True,
            check=True,
            timeout=WRAP_TIMEOUT,
            cwd=ROOT,
            env=environment("http://127.0.0.1/0/bench"),
        )
        return [json.loads(line) for line in wrapped.stdout.splitlines()]


def peers() -> list[Peer]:
    """List the peers: ours, then the two bare loops that the goals refer to, then the others."""
    return [
        Peer("ours", lambda url: (sys.executable, "-m", "tests.bench.consume_ours", url)),
        _loop(f"bare batch × {POLLERS}", "batch", POLLERS),
        _loop("bare batch × 1", "batch", 1),
        _loop("straightforward", "each", 1, slow=True),
        _sqs_consumer("sqs-consumer", "single", 1, slow=True),
        _sqs_consumer("sqs-consumer batch × 4", "batch", 4),
        _worker("taskiq-aio-sqs", "taskiq-aio-sqs"),
        _worker("dramatiq-sqs", "dramatiq-sqs"),
        _worker("celery", "celery[sqs]"),
    ]


def _loop(name: str, kind: str, loops: int, *, slow: bool = False) -> Peer:
    module = "tests.bench.consume_aiobotocore"
    return Peer(name, lambda url: (sys.executable, "-m", module, url, kind, str(loops)), slow=slow)


def _sqs_consumer(name: str, kind: str, instances: int, *, slow: bool = False) -> Peer:
    script = NODE / "sqs_consumer.mjs"  # Node looks for its modules beside the script.
    return Peer(name, lambda url: ("node", str(script), url, kind, str(instances)), prepare=_prepare_node, slow=slow)


def _worker(name: str, package: str) -> Peer:
    python, script = str(VENV / "bin/python"), str(PEERS / f"{name.split('-', maxsplit=1)[0]}_worker.py")
    return Peer(
        name,
        lambda url: (python, script, url),
        wrap=(python, script, "wrap"),
        prepare=lambda: _prepare_python(package),
        slow=True,
    )


def _prepare_node() -> str:
    missing = "" if (NODE / "node_modules/sqs-consumer").exists() else _install_node()
    if not missing:
        shutil.copy(PEERS / "sqs_consumer.mjs", NODE)
    return missing


def _install_node() -> str:
    if shutil.which("npm") is None:
        return "npm is not installed"
    return _run(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(NODE), *NODE_PACKAGES])


def _prepare_python(package: str) -> str:
    python = VENV / "bin/python"
    missing = "" if python.exists() else _run([sys.executable, "-m", "venv", str(VENV)])
    if missing or list(VENV.glob(f"lib/*/site-packages/{PYTHON_PACKAGES[package]}")):
        return missing
    return _run([str(python), "-m", "pip", "install", "-q", package])


def _run(command: Sequence[str]) -> str:
    """Run a command. Return the reason of a failure, or an empty text."""
    TOOLS.mkdir(exist_ok=True)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, check=False, cwd=ROOT)
    except subprocess.TimeoutExpired:
        return f"installing took longer than {INSTALL_TIMEOUT:g} s"
    return "" if done.returncode == 0 else f"could not be installed: {done.stderr.strip()[-300:]}"


def environment(queue: str) -> dict[str, str]:
    """Build a client's environment: fake credentials, none of the caller's settings, and `queue` for all our queues."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MEDIA_", "AWS_"))}
    kept |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
    kept |= {"AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION, "AWS_ENDPOINT_URL": queue.rsplit("/", 2)[0]}
    names = ("UPLOADS", "IMAGES", "TRANSCODES", "TRANSCODE_EVENTS", "RECORDINGS")
    kept |= {f"MEDIA_{name}_QUEUE_URL": queue for name in names}
    return kept | {"MEDIA_DATABASE_URL": "postgresql://bench", "OUTPUT_BUCKET": "bench"}
