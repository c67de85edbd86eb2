"""The consumer below low limits on files, memory and processes."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from tests.faults.proxied_services import ROOT, ProxiedServices, with_limits
from tests.faults.sample_uploads import PDF, PNG, send_all, wait_until_all_ended

LOW = (
    "--nproc=4096:4096",
    "--nofile=200:200",
    "--as=8000000000:8000000000",
    "--fsize=100000000:100000000",
    "--core=0:0",
)


async def test_the_consumer_works_below_low_limits(services: ProxiedServices) -> None:
    daemon = services.daemon()
    daemon.limits = LOW
    try:
        await daemon.start()
        await send_all(services, [PNG, PDF] * 5, duplicates=0)
        await wait_until_all_ended(services, 60)
    finally:
        await daemon.kill()
    assert "Traceback" not in daemon.log.read_text()


async def test_a_consumer_that_cannot_start_says_why_in_one_line(services: ProxiedServices) -> None:
    daemon = services.daemon()
    daemon.limits = ("--nofile=16:16",)
    with pytest.raises(AssertionError, match="it ended"):
        await daemon.start()
    assert await daemon.ended() == 1
    said = daemon.log.read_text()
    assert "Traceback" not in said
    reason = json.loads(said.splitlines()[-1])["reason"]
    assert reason.startswith("the consumer cannot run: ")
    assert "Too many open files" in reason


async def test_the_embedded_transcoder_works_below_low_limits(tmp_path: Path) -> None:
    script = (
        "import asyncio, pathlib; from deploy.local.mediaconvert import child; said = [];"
        "ended = asyncio.run(child.run(['echo', 'well'], cwd=pathlib.Path(), deadline=10, on_line=said.append));"
        "print(ended.stderr, *said, end='')"
    )
    process = await asyncio.create_subprocess_exec(
        *with_limits(LOW), sys.executable, "-c", script, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, stdout=PIPE
    )
    said, _ = await process.communicate()
    assert said == b" well"
