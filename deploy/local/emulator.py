"""S3, SQS, EventBridge and CloudFormation on loopback: ministack, with the credentials that every client here uses."""

import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local import child
from deploy.local.child import Child, Program
from deploy.local.ports import HOST

REGION = "eu-central-1"
ACCESS_KEY = "test"
SECRET_KEY = "test"  # noqa: S105 - the emulator's well-known root credentials
ACCOUNT = "000000000000"
ROOT = Path(__file__).resolve().parents[2]
SAVE_DEADLINE = 60.0
"""Seconds: on SIGTERM it writes its state to disk."""
SAVED_MARK = "saved"
"""A file in the emulator's folder, written after its state: without it there is nothing to go on with."""


@dataclass(frozen=True, slots=True)
class Emulator:
    """A running emulator: where it is, and what a client of AWS needs in its environment to reach it."""

    child: Child
    url: str

    def client_env(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_EC2_METADATA_DISABLED": "true",
            # A developer's profile must not reach a client that asks for nothing.
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }


async def start(folder: Path, port: int, logs: Path, descriptors: Sequence[int] = ()) -> Emulator:
    """Start the emulator on its saved state. Raises PartError.

    Objects go to disk as they come; messages and the rest every few seconds and on SIGTERM, which it also gets when
    we are killed. It keeps `descriptors` open until it has saved.
    """
    for part in ("state", "s3", "tmp"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    program = Program(
        name="emulator",
        # -P: a folder named like a module of its own in the current folder must not shadow it.
        argv=[sys.executable, "-P", "-m", "deploy.local.emulator_process"],
        env=child.inherited() | {"PYTHONPATH": str(ROOT)} | _configuration(folder, port),
        cwd=folder,
        stop_deadline=SAVE_DEADLINE,
        orphan_signal=signal.SIGTERM,
        descriptors=descriptors,
    )
    started = await child.start(program, logs)
    try:
        await started.until_ready(lambda: child.accepts(HOST, port))
    except BaseException:
        await started.stop()
        raise
    return Emulator(started, f"http://{HOST}:{port}")


def _configuration(folder: Path, port: int) -> dict[str, str]:
    return {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": HOST,
        "MINISTACK_HOST": HOST,  # else queue URLs name localhost, which may resolve to an address it does not bind
        "MINISTACK_REGION": REGION,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AUTH": "true",  # else queue policies, CORS and signatures are not looked at
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "PERSIST_STATE": "1",
        "STATE_DIR": str(folder / "state"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(folder / "s3"),
        "TMPDIR": str(folder / "tmp"),
        "DOCKER_HOST": "unix:///nonexistent",  # it would look for containers of its own to remove
        "LOG_LEVEL": "WARNING",
    }
