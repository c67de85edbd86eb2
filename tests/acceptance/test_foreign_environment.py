"""The embedded stack ignores an environment that is meant for other programs."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local.ports import free_port
from deploy.local.rehearsal.stand_ins import changes
from tests.acceptance.conftest import ROOT, Outcome, command, command_line, jpeg
from tests.conftest import EmbeddedStack

START_DEADLINE = 120.0
NOWHERE = "http://127.0.0.1:1"
PROXIES = {name: NOWHERE for proxy in ("http", "https", "all") for name in (f"{proxy}_proxy", f"{proxy}_PROXY".upper())}
HOSTILE = PROXIES | {
    "AWS_PROFILE": "nobody",
    "AWS_CONFIG_FILE": "/nowhere",
    "AWS_ENDPOINT_URL": NOWHERE,
    "AWS_ENDPOINT_URL_S3": NOWHERE,
    "AWS_CA_BUNDLE": "/nowhere",
    "REQUESTS_CA_BUNDLE": "/nowhere",
    "SSL_CERT_FILE": "/nowhere",
    "SSL_CERT_DIR": "/nowhere",
    "PGHOST": "127.0.0.9",
    "PGPORT": "1",
    "PGSERVICE": "nobody",
    "PGSSLMODE": "verify-full",
    "PGTARGETSESSIONATTRS": "read-only",
    "PGDATA": "/nowhere",
    "OUTPUT_BUCKET": "theirs",
    "REDIS_URL": "redis://127.0.0.1:1",
    "CLOUDFRONT_DOMAIN": "cdn.example.com",
    "MEDIA_DATABASE_URL": "nonsense",
    "MEDIA_UPLOADS_QUEUE_URL": "nonsense",
    "MEDIA_CLAMD": "nonsense",
    "MEDIA_FFMPEG": "/nowhere",
    "MEDIA_PUBLIC_URL": NOWHERE,
    "MEDIA_TRUSTED_PROXIES": "0.0.0.0/0",
    "MEDIA_JWT_JWKS_URL": NOWHERE,
    "MEDIA_JWT_AUDIENCE": "theirs",
    "MEDIA_JWT_SECRET": "short",
}


def write_broken_home(folder: Path) -> Path:
    """Write a home folder with broken settings of AWS and Postgres."""
    for name in (".aws/config", ".aws/credentials", ".postgresql/postgresql.crt", ".postgresql/postgresql.key"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("broken [")
    return folder


@contextlib.asynccontextmanager
async def serving(environ: dict[str, str]) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deploy.local"), cwd=ROOT, env=environ, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(START_DEADLINE):
            line = await process.stderr.readline()
            assert line.startswith(b"ready after"), (line + await process.stderr.read()).decode()
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(START_DEADLINE):
            await process.communicate()


@pytest.mark.timeout(300)  # it rehearses a whole deployment
async def test_commands_ignore_settings_of_other_programs(tmp_path: Path) -> None:
    own = {"HOME": str(write_broken_home(tmp_path / "home")), "MEDIA_API_PORT": str(free_port())}
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(jpeg(300, 200))

    async def run(*arguments: str | Path) -> Outcome:
        return await command_line('"$@"', *arguments, state=tmp_path / "state", **HOSTILE, **own)

    environ = {**os.environ, **HOSTILE, **own, "MEDIA_LOCAL_STATE": str(tmp_path / "state")}
    async with serving(environ):
        sent = await run("process", "--json", "--out", tmp_path / "out", picture)
        assert (sent.status, sent.files[0].status) == (0, "ready"), sent
        recorded = await run("process", "--json", "--as", "recording", picture)
        assert (recorded.status, recorded.files[0].code) == (0, "type_mismatch"), recorded
        ended = [await run(*line) for line in (["token"], ["rehearse"], ["bench", "image", "--help"], ["stop"])]
        assert "is healthy" in ended[1].stdout
        assert all(f"  {name}: " in ended[1].stdout for name in changes()), "all that is not as in an account is told"
        assert [(one.status, one.stderr) for one in ended] == [(0, "")] * 3 + [(0, "stopped\n")]


async def test_all_wrong_settings_are_one_message(tmp_path: Path) -> None:
    wrong = {
        "MEDIA_DRAIN_TIMEOUT": "abc",
        "MEDIA_LOG_LEVEL": "loud",
        "MEDIA_API_PORT": "x",
        "MEDIA_LOCAL_EMULATOR_PORT": "99999",
        "MEDIA_LOCAL_CLAMAV_DATABASE": "/nowhere",
        "MEDIA_LOCAL_FFMPEG": "/nowhere",
    }
    for arguments in (["serve"], ["process", __file__]):
        outcome = await command_line('"$@"', *arguments, state=tmp_path / "state", **wrong, MEDIA_CLAMD="theirs")
        first, *lines = outcome.stderr.splitlines()
        assert (outcome.status, first) == (2, "run.sh: settings are missing or wrong:")
        assert {line.split(":")[0].strip() for line in lines} == wrong.keys()
    stopping = await command_line('"$@"', "stop", state=tmp_path / "state", **wrong)
    assert "no stack runs" in stopping.stderr, "stop needs no valid settings"


async def test_a_consumer_that_cannot_listen_says_so(stack: EmbeddedStack) -> None:
    taken = {"MEDIA_CONSUMER_PORT": stack.settings["MEDIA_API_PORT"], "MEDIA_LOG_LEVEL": "error"}
    outcome = await command("consumer", env={**os.environ, **stack.settings, **taken})
    assert outcome.status == 1
    assert json.loads(outcome.stderr)["reason"].startswith("the consumer cannot run: OSError: [Errno 98]")
    assert "Traceback" not in outcome.stderr
