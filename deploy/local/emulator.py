"""The emulator of S3, SQS, EventBridge and CloudFormation on loopback: ministack, with its fixed credentials."""

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
"""Seconds to end after SIGTERM: it writes its state to disk first."""
SAVED_MARK = "saved"
"""A file in the emulator's folder, written after its state. Without it the state is incomplete."""


@dataclass(frozen=True, slots=True)
class Emulator:
    """A running emulator: its address, and the environment of AWS clients that use it."""

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
            # A client without explicit settings must not use a developer's profile.
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }


async def start(
    folder: Path,
    port: int,
    logs: Path,
    descriptors: Sequence[int] = (),
    *,
    module: str = "deploy.local.emulator_process",
    certificate: tuple[Path, Path] | None = None,
) -> Emulator:
    """Start the emulator on its saved state. Raises PartError.

    Objects are written to disk at once; messages and the rest every few seconds and on SIGTERM, which it also gets when
    we are killed. It keeps `descriptors` open until it has saved. With a certificate and its key it speaks TLS alone.
    """
    for part in ("state", "s3", "tmp"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    program = Program(
        name="emulator",
        # -P: a folder in the current folder must not shadow a module of the same name.
        argv=[sys.executable, "-P", "-m", module],
        env=child.base_environment() | {"PYTHONPATH": str(ROOT)} | _configuration(folder, port) | _tls(certificate),
        cwd=folder,
        stop_deadline=SAVE_DEADLINE,
        parent_death_signal=signal.SIGTERM,
        descriptors=descriptors,
    )
    started = await child.start(program, logs)
    try:
        await started.until_ready(lambda: child.is_served(started, HOST, port))
    except BaseException:
        await started.stop()
        raise
    return Emulator(started, f"{'https' if certificate else 'http'}://{HOST}:{port}")


def _tls(certificate: tuple[Path, Path] | None) -> dict[str, str]:
    if certificate is None:
        return {}
    return {"USE_SSL": "1", "MINISTACK_SSL_CERT": str(certificate[0]), "MINISTACK_SSL_KEY": str(certificate[1])}


def _configuration(folder: Path, port: int) -> dict[str, str]:
    return {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": HOST,
        "MINISTACK_HOST": HOST,  # else queue URLs name localhost, which may resolve to another address
        "MINISTACK_REGION": REGION,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AUTH": "true",  # else queue policies, CORS and signatures are not checked
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "PERSIST_STATE": "1",
        "STATE_DIR": str(folder / "state"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(folder / "s3"),
        "TMPDIR": str(folder / "tmp"),
        "DOCKER_HOST": "unix:///nonexistent",  # else it looks for its own containers to remove
        "LOG_LEVEL": "WARNING",
    }
