"""The programs that run on top of the parts: MediaConvert's endpoint, the consumer and the API, with their settings."""

import os
import shutil
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local import child, programs, tokens
from deploy.local.child import Program
from deploy.local.emulator import ACCOUNT, Emulator
from deploy.local.ports import HOST, Ports
from deploy.local.state import Secrets, State
from deploy.local.topology import Topology
from media.setting_rules import trim
from media.settings import QUEUES

ROOT = Path(__file__).resolve().parents[2]
LAPTOP_DEFAULTS = {
    # A drain waits for running polls, else their messages stay invisible. 20 s would be too long after a Ctrl-C.
    "MEDIA_RECEIVE_WAIT": "2",
    # This API has no load balancer.
    "MEDIA_API_DRAIN_DELAY": "0",
    # One person acts for all users here, and so do benchmarks.
    **{f"MEDIA_RATE_LIMIT_{kind}": "0" for kind in ("READS", "WRITES", "URLS", "STREAMS")},
}
"""Defaults for one person at a terminal. The user's own settings override them."""

OWNER_DSN = "MEDIA_OWNER_DATABASE_URL"
"""Variable in the file of settings with the database as its schema's owner, for operators. No service gets it."""
STACK_SETTINGS = frozenset(
    {
        OWNER_DSN,
        *(f"MEDIA_{name.upper().replace('-', '_')}_QUEUE_URL" for name in QUEUES),
        *(f"MEDIA_{name}" for name in ("DATABASE_URL", "QUARANTINE_BUCKET", "RECORDING_BUCKETS", "MEDIACONVERT_QUEUE")),
        "MEDIA_EVENT_BUS",
        *(f"MEDIA_{name}" for name in ("CLAMD", "FFMPEG", "FFPROBE", "S3_PUBLIC_ENDPOINT_URL")),
        *(
            f"MEDIA_{name}"
            for name in ("API_HOST", "CONSUMER_HOST", "PUBLIC_URL", "TRUSTED_PROXIES", "CALLBACK_SECRET")
        ),
        *(f"MEDIA_JWT_{name}" for name in ("SECRET", "ISSUER", "AUDIENCE", "JWKS_URL")),
        *(f"MEDIA_PAGE{name}" for name in ("", "_TOKEN", "_SCANNER")),
    }
)
"""Settings that the stack makes itself. The caller's values belong to another deployment and are ignored."""

PAGE_USER = "page"
DRAIN_MARGIN = 10.0
"""Seconds after a service's own drain deadline until it is killed."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses of everything that the services depend on."""

    ports: Ports
    emulator: Emulator
    topology: Topology
    dsn: str
    clamd: str
    scanner: str

    @property
    def api_url(self) -> str:
        return f"http://{HOST}:{self.ports.api}"


def cors_origins(api_port: int, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the page's own origins, and those that the user configured."""
    named = environ.get("MEDIA_CORS_ORIGINS", "").split(",")
    own = [f"http://{host}:{api_port}" for host in ("localhost", "127.0.0.1")]
    return own + [origin.strip() for origin in named if origin.strip()]


def settings(addresses: Addresses, secrets: Secrets, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of consumer and API: the user's own MEDIA_ settings, overridden by those of the stack."""
    own = _stack_settings(addresses, secrets, environ)
    return LAPTOP_DEFAULTS | user_settings(environ) | addresses.emulator.client_env() | own


def user_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the user's own settings that consumer and API get."""
    names = (name for name in environ if name.startswith("MEDIA_") and not name.startswith("MEDIA_LOCAL_"))
    return {name: environ[name] for name in names if name not in STACK_SETTINGS}


def _stack_settings(addresses: Addresses, secrets: Secrets, environ: Mapping[str, str]) -> dict[str, str]:
    ports, topology = addresses.ports, addresses.topology
    queue_urls = {f"MEDIA_{name.upper().replace('-', '_')}_QUEUE_URL": topology.queue_urls[name] for name in QUEUES}
    return queue_urls | {
        "MEDIA_DATABASE_URL": addresses.dsn,
        "OUTPUT_BUCKET": topology.output_bucket,
        "MEDIA_QUARANTINE_BUCKET": topology.quarantine_bucket,
        "MEDIA_RECORDING_BUCKETS": topology.recordings_bucket,
        "MEDIA_EVENT_BUS": topology.event_bus,
        "MEDIACONVERT_ENDPOINT": f"http://{HOST}:{ports.mediaconvert}",
        "MEDIACONVERT_ROLE_ARN": f"arn:aws:iam::{ACCOUNT}:role/mediaconvert",
        "MEDIA_CLAMD": addresses.clamd,
        "MEDIA_FFMPEG": programs.ffmpeg(environ),
        "MEDIA_FFPROBE": programs.ffprobe(environ),
        "MEDIA_API_HOST": HOST,
        "MEDIA_API_PORT": str(ports.api),
        "MEDIA_CONSUMER_HOST": HOST,
        "MEDIA_CONSUMER_PORT": str(ports.consumer),
        "MEDIA_S3_PUBLIC_ENDPOINT_URL": addresses.emulator.url,
        "MEDIA_CORS_ORIGINS": ",".join(cors_origins(ports.api, environ)),
        "MEDIA_JWT_SECRET": secrets.jwt_secret,
        "MEDIA_JWT_ISSUER": tokens.ISSUER,
        "MEDIA_CALLBACK_SECRET": secrets.callback_secret,
        "MEDIA_PAGE": "true",
        "MEDIA_PAGE_TOKEN": tokens.mint(secrets.jwt_secret, user=PAGE_USER, role="user"),
        "MEDIA_PAGE_SCANNER": addresses.scanner,
    }


def mediaconvert(state: State, addresses: Addresses, environ: Mapping[str, str] = os.environ) -> Program:
    """Return the MediaConvert-compatible endpoint of a stack."""
    return mediaconvert_on(state.root, addresses.ports.mediaconvert, addresses.emulator.client_env(), environ)


def mediaconvert_on(root: Path, port: int, client: Mapping[str, str], environ: Mapping[str, str]) -> Program:
    """Return the MediaConvert-compatible endpoint. It reads and writes S3 and sends events, so it gets credentials."""
    folder = root / "mediaconvert"
    folder.mkdir(parents=True, exist_ok=True)
    env = {
        **client,
        "MEDIA_LOCAL_FFMPEG": programs.ffmpeg(environ),
        "MEDIA_LOCAL_FFPROBE": programs.ffprobe(environ),
    }
    arguments = ["--host", HOST, "--port", str(port), "--state", str(folder)]
    return _python("deploy.local.mediaconvert", "mediaconvert", root, env, arguments)


def service(name: str, state: State, env: Mapping[str, str]) -> Program:
    """Return the consumer or the API, which drains before it stops."""
    drain = float(trim(env.get("MEDIA_DRAIN_TIMEOUT", "")) or 25.0) + DRAIN_MARGIN
    return _python(name, name, state.root, env, [], stop_deadline=drain)


def _python(
    module: str,
    name: str,
    root: Path,
    env: Mapping[str, str],
    arguments: list[str],
    stop_deadline: float = child.STOP_DEADLINE,
) -> Program:
    """Return a program that runs in the state folder, since a `.env` in the repository is the developer's."""
    scratch = root / "tmp" / name
    shutil.rmtree(scratch, ignore_errors=True)  # a killed process leaves files
    scratch.mkdir(parents=True)
    own = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "TMPDIR": str(scratch)}
    return Program(
        name=name,
        argv=[sys.executable, "-m", module, *arguments],
        env=child.base_environment() | own | dict(env),
        cwd=root,
        stop_signal=signal.SIGTERM,
        stop_deadline=stop_deadline,
    )
