"""A log that nobody reads, that is closed, or whose disk is full costs lines and nothing else."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from media.process.log_writer import LINES_DROPPED, LogWriter

ROOT = Path(__file__).parents[4]


@pytest.fixture
def pipe() -> Iterator[tuple[IO[bytes], int]]:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader:
        yield reader, writing
        os.close(writing)


def dropped() -> float:
    [metric] = LINES_DROPPED.collect()
    return next(sample.value for sample in metric.samples if sample.name.endswith("_total"))


def test_lines_arrive_in_order_and_whole(pipe: tuple[IO[bytes], int]) -> None:
    reader, writing = pipe
    writer, before = LogWriter(writing).start(), dropped()
    lines = [f"{n} \u00e9\ud800\n" for n in range(20_000)]  # more than a pipe holds
    threading.Thread(target=lambda: [writer.write(line) for line in lines]).start()
    expected = b"".join(line.encode(errors="backslashreplace") for line in lines)
    assert reader.read(len(expected)) == expected
    assert dropped() == before


def test_unread_pipe_fills_a_bounded_buffer_and_blocks_nobody(pipe: tuple[IO[bytes], int]) -> None:
    reader, writing = pipe
    writer, before = LogWriter(writing, limit=100_000).start(), dropped()
    line = "x" * 99 + "\n"
    began = time.monotonic()
    for _ in range(50_000):
        writer.write(line)
        writer.flush()
    assert time.monotonic() - began < 30, "no write waited for a reader"
    lost = int(dropped() - before)
    assert lost >= 50_000 - (65_536 + 2 * 100_000) // 100 - 1
    kept = reader.read(100 * (50_000 - lost))
    assert kept == (line * (50_000 - lost)).encode(), "what was kept arrives whole"


def test_pipe_that_somebody_made_non_blocking_loses_nothing(pipe: tuple[IO[bytes], int]) -> None:
    reader, writing = pipe
    os.set_blocking(writing, False)
    writer, before = LogWriter(writing).start(), dropped()
    writer.write("y" * 300_000 + "\n")
    assert reader.read(300_001) == b"y" * 300_000 + b"\n"
    assert dropped() == before


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "disk full"])
def test_lines_that_cannot_be_written_are_counted(closed: bool) -> None:
    if closed:
        reading, writing = os.pipe()
        os.close(reading)
    else:
        writing = os.open("/dev/full", os.O_WRONLY)
    writer, before = LogWriter(writing).start(), dropped()
    for _ in range(3):
        writer.write("a\nb\n")
    writer.close()
    os.close(writing)
    assert dropped() - before == 6


PROGRAM = """
import sys
import structlog
from media.process.log_writer import LogWriter
from media.telemetry import configure_logging, log_uncaught

configure_logging("json", "info", LogWriter(sys.stdout.fileno()).start())
log_uncaught()
for number in range(int(sys.argv[1])):
    structlog.get_logger().info("line", number=number)
raise ValueError("the end")
"""


def run(lines: int, stdout: int) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", PROGRAM, str(lines)]
    return subprocess.run(command, cwd=ROOT, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, check=False)


def test_last_lines_are_written_when_the_process_ends() -> None:
    ended = run(2_000, subprocess.PIPE)
    events = [json.loads(line)["event"] for line in ended.stdout.splitlines()]
    assert events == ["line"] * 2_000 + ["process.uncaught"]
    assert (ended.returncode, ended.stderr) == (1, "")


def test_process_ends_with_its_own_status_though_nobody_reads_its_log(pipe: tuple[IO[bytes], int]) -> None:
    ended = run(2_000, pipe[1])
    assert (ended.returncode, ended.stderr) == (1, "")


def test_process_ends_with_its_own_status_though_the_disk_is_full() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    ended = run(10, full)
    os.close(full)
    assert (ended.returncode, ended.stderr) == (1, "")
