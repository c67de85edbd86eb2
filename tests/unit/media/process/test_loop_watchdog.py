"""A process whose event loop hangs ends with its stacks. One that was stopped, or is debugged, goes on."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from media.settings import QUEUES

ROOT = Path(__file__).parents[4]
DEADLINE = 60.0
LIMIT = 0.5
"""Seconds without a turn of the loop after which the processes of these tests end."""
WATCHED = f"""
import asyncio, re, sys, threading, time
from media.process.loop_watchdog import run_watched

async def main():
    await asyncio.sleep(0)
    {{}}

asyncio.run(run_watched(main(), {LIMIT}))
"""
SERVICE = f"""
import sys
from functools import partial
from media.process.loop_watchdog import run_watched
import {{0}}.__main__ as service

assert "bdb" not in sys.modules, "the watchdog takes it for a debugger"
service.run_watched = partial(run_watched, limit={LIMIT})
sys.exit(service.main())
"""
NUL_MESSAGE = b"\0\0\0\0\4"
"""A message of type NUL, which no Postgres sends. asyncpg's parser never gets past it, and holds the interpreter."""


async def start(script: str, **environment: str) -> Process:
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment}
    return await asyncio.create_subprocess_exec(sys.executable, "-c", script, env=given, stdout=PIPE, stderr=PIPE)


@pytest.mark.parametrize(
    ("hang", "named"),
    [
        ('re.match("(a+)+$", "a" * 64 + "b")', "in match"),
        ("lock = threading.Lock(); lock.acquire(); lock.acquire()", "in main"),
    ],
    ids=["in C with the interpreter's lock", "waiting without it"],
)
async def test_hung_loop_ends_the_process_with_its_stacks(hang: str, named: str) -> None:
    process = await start(WATCHED.format(hang))
    async with asyncio.timeout(DEADLINE):
        _, stacks = await process.communicate()
    assert process.returncode == -signal.SIGPROF
    assert named in stacks.decode()


async def test_prompt_of_a_debugger_may_hold_the_loop() -> None:
    process = await start(WATCHED.format(f"import pdb; time.sleep({2 * LIMIT})"))
    async with asyncio.timeout(DEADLINE):
        assert await process.communicate() == (b"", b"")
    assert process.returncode == 0


async def test_process_that_was_stopped_goes_on() -> None:
    work = "while await asyncio.to_thread(sys.stdin.readline): print(flush=True)"
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WATCHED.format(work), env=given, stdin=PIPE, stdout=PIPE
    )
    assert process.stdin
    assert process.stdout
    async with asyncio.timeout(DEADLINE):
        process.stdin.write(b"started?\n")
        assert await process.stdout.readline() == b"\n"
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(3 * LIMIT)
        process.send_signal(signal.SIGCONT)
        for _ in range(10):
            process.stdin.write(b"alive?\n")
            assert await process.stdout.readline() == b"\n"
            await asyncio.sleep(LIMIT / 10)
        process.stdin.close()
        assert await process.wait() == 0


@pytest.mark.parametrize("module", ["api", "consumer"])
async def test_answer_that_hangs_the_parser_ends_the_service(module: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(NUL_MESSAGE)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        process = await start(
            SERVICE.format(module),
            AWS_REGION="eu-central-1",
            MEDIA_API_HOST="127.0.0.1",
            OUTPUT_BUCKET="bucket",
            MEDIA_DATABASE_URL=f"postgresql://user@127.0.0.1:{port}/media?sslmode=disable",
            MEDIA_JWT_SECRET="made up for the tests of the watchdog alone",
            MEDIA_TRANSCODER="ffmpeg",
            **{f"MEDIA_{name.upper().replace('-', '_')}_QUEUE_URL": "https://unused" for name in QUEUES},
        )
        async with asyncio.timeout(DEADLINE):
            _, stacks = await process.communicate()
    assert process.returncode == -signal.SIGPROF, stacks
    assert b"data_received" in stacks
