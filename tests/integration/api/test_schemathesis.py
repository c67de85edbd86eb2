"""Schemathesis over the OpenAPI document: no 5xx, no undocumented status, answers as described, token or not."""

import asyncio
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from tests.integration.api.conftest import RunningApi, token

FUZZING = 10
"""Seconds of one run, beside what it takes to start."""
DEADLINE = 60.0
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "ignored_auth",
)
STREAMS = "/events$"
"""Endless answers; `test_events` has them."""


@pytest.mark.parametrize("subject", [None, "doctor-1"])
async def test_fuzzing_finds_no_5xx_and_nothing_undocumented(
    shared_api: RunningApi, tmp_path: Path, subject: str | None
) -> None:
    await shared_api.announce()
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        str(shared_api.http.make_url("/openapi.json")),
        "--checks",
        ",".join(CHECKS),
        "--phases",
        "coverage,fuzzing",
        "--max-time",
        str(FUZZING),
        "--workers",
        "2",
        "--exclude-path-regex",
        STREAMS,
        "--suppress-health-check",
        "all",
        "--warnings",
        "off",
        "--seed",
        "7",
        "--request-timeout",
        "10",
        "--generation-database",
        "none",
        "--no-color",
    ]
    command += ["--header", f"Authorization: Bearer {token(subject)}"] if subject else []
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT, cwd=tmp_path)
    try:
        async with asyncio.timeout(DEADLINE):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode()[-6000:]
