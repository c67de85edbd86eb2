"""What runs on the parts: the transcoder's endpoint, the consumer and the API, with exactly their settings."""

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
from media.settings import QUEUES

ROOT = Path(__file__).resolve().parents[2]
LAPTOP = {
    # A drain lets the polls under way finish, or their messages stay invisible; nobody waits 20 s for Ctrl-C.
    "MEDIA_RECEIVE_WAIT": "2",
    # No balancer stands before this API.
    "MEDIA_API_DRAIN_DELAY": "0",
    # Whoever sits here is all users at once, benchmarks included.
    **{f"MEDIA_RATE_LIMIT_{kind}": "0" for kind in ("READS", "WRITES", "URLS", "STREAMS")},
}
"""Settings that suit one person at a terminal; the user's own go before them."""

DECIDED = frozenset(
    {
        *(f"MEDIA_{name.upper().replace('-', '_')}_QUEUE_URL" for name in QUEUES),
        *(f"MEDIA_{name}" for name in ("DATABASE_URL", "QUARANTINE_BUCKET", "RECORDING_BUCKETS", "MEDIACONVERT_QUEUE")),
        *(f"MEDIA_{name}" for name in ("CLAMD", "FFMPEG", "FFPROBE", "S3_PUBLIC_ENDPOINT_URL")),
        *(f"MEDIA_{name}" for name in ("API_HOST", "CONSUMER_HOST", "PUBLIC_URL", "CALLBACK_SECRET")),
        *(f"MEDIA_JWT_{name}" for name in ("SECRET", "ISSUER", "AUDIENCE", "JWKS_URL")),
        *(f"MEDIA_PAGE{name}" for name in ("", "_TOKEN", "_SCANNER")),
    }
)
"""The stack knows where everything is and whom to trust: the caller's are another deployment's, and not looked at."""

PAGE_USER = "page"
DRAIN_MARGIN = 10.0
"""Seconds past the services' own drain deadline before they are killed."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the services find what they depend on."""

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
    """The page's own origins, and those that the user named."""
    named = environ.get("MEDIA_CORS_ORIGINS", "").split(",")
    own = [f"http://{host}:{api_port}" for host in ("localhost", "127.0.0.1")]
    return own + [origin.strip() for origin in named if origin.strip()]


def settings(addresses: Addresses, secrets: Secrets, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of consumer and API: the user's own MEDIA_ settings, and over them where everything is."""
    return LAPTOP | chosen(environ) | addresses.emulator.client_env() | _located(addresses, secrets, environ)


def chosen(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that the user makes, as consumer and API get them."""
    mine = (name for name in environ if name.startswith("MEDIA_") and not name.startswith("MEDIA_LOCAL_"))
    return {name: environ[name] for name in mine if name not in DECIDED}


def _located(addresses: Addresses, secrets: Secrets, environ: Mapping[str, str]) -> dict[str, str]:
    ports, topology = addresses.ports, addresses.topology
    queue_urls = {f"MEDIA_{name.upper().replace('-', '_')}_QUEUE_URL": topology.queue_urls[name] for name in QUEUES}
    return queue_urls | {
        "MEDIA_DATABASE_URL": addresses.dsn,
        "OUTPUT_BUCKET": topology.output_bucket,
        "MEDIA_QUARANTINE_BUCKET": topology.quarantine_bucket,
        "MEDIA_RECORDING_BUCKETS": topology.recordings_bucket,
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
    """The MediaConvert-compatible endpoint. It reads and writes S3 and sends events, so it has the credentials."""
    state.mediaconvert.mkdir(parents=True, exist_ok=True)
    port = str(addresses.ports.mediaconvert)
    env = addresses.emulator.client_env() | {
        "MEDIA_LOCAL_FFMPEG": programs.ffmpeg(environ),
        "MEDIA_LOCAL_FFPROBE": programs.ffprobe(environ),
    }
    arguments = ["--host", HOST, "--port", port, "--state", str(state.mediaconvert)]
    return _python("deploy.local.mediaconvert", "mediaconvert", state, env, arguments)


def service(name: str, state: State, env: Mapping[str, str]) -> Program:
    """The consumer or the API, told to drain before it is stopped."""
    drain = float(env.get("MEDIA_DRAIN_TIMEOUT") or 25.0) + DRAIN_MARGIN
    return _python(name, name, state, env, [], stop_deadline=drain)


def _python(
    module: str,
    name: str,
    state: State,
    env: Mapping[str, str],
    arguments: list[str],
    stop_deadline: float = child.STOP_DEADLINE,
) -> Program:
    """Run from the state folder: a `.env` in the repository is a developer's, not the stack's."""
    scratch = state.root / "tmp" / name
    shutil.rmtree(scratch, ignore_errors=True)  # what a killed one left behind
    scratch.mkdir(parents=True)
    own = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "TMPDIR": str(scratch)}
    return Program(
        name=name,
        argv=[sys.executable, "-m", module, *arguments],
        env=child.inherited() | own | dict(env),
        cwd=state.root,
        stop_signal=signal.SIGTERM,
        stop_deadline=stop_deadline,
    )
