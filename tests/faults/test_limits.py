"""The consumer where the machine allows a process less than it would like."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from tests.faults.site import ROOT, Site, limited
from tests.faults.uploads import PDF, PNG, all_ended, send_all

LOW = (
    "--nproc=4096:4096",
    "--nofile=200:200",
    "--as=8000000000:8000000000",
    "--fsize=100000000:100000000",
    "--core=0:0",
)


async def test_it_works_below_low_limits(site: Site) -> None:
    daemon = site.daemon()
    daemon.limits = LOW
    try:
        await daemon.start()
        await send_all(site, [PNG, PDF] * 5, duplicates=0)
        await all_ended(site, 60)
    finally:
        await daemon.kill()
    assert "Traceback" not in daemon.log.read_text()


async def test_where_it_cannot_start_it_says_why_in_one_line(site: Site) -> None:
    daemon = site.daemon()
    daemon.limits = ("--nofile=16:16",)
    with pytest.raises(AssertionError, match="it ended"):
        await daemon.start()
    assert await daemon.ended() == 1
    said = daemon.log.read_text()
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("the consumer cannot run: ")
    assert "Too many open files" in said.splitlines()[-1]


async def test_the_embedded_transcoder_works_below_them_too(tmp_path: Path) -> None:
    script = (
        "import asyncio, pathlib; from deploy.local.mediaconvert import child; said = [];"
        "ended = asyncio.run(child.run(['echo', 'well'], cwd=pathlib.Path(), deadline=10, on_line=said.append));"
        "print(ended.stderr, *said, end='')"
    )
    process = await asyncio.create_subprocess_exec(
        *limited(LOW), sys.executable, "-c", script, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, stdout=PIPE
    )
    said, _ = await process.communicate()
    assert said == b" well"
