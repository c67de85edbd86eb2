"""`./run.sh bench transcode [--json]`: our ffmpeg engine beside bare ffmpeg with the same encoders, on one video.

Rounds are interleaved, so that a busy machine is busy for all; figures are medians. CPU is that of all processes.
"""

import argparse
import asyncio
import ctypes
import json
import logging
import os
import re
import resource
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from handlers.transcode.planning.ladder import plan as plan_of
from handlers.transcode.planning.plan import Plan
from handlers.transcode.probing.prober import Prober
from media.asset import AssetType
from tests.bench.transcode_peers import DEADLINE, PEERS, make_source, playlists

ROUNDS, SECONDS = 2, 10.0
PR_SET_CHILD_SUBREAPER = 36
"""prctl(2): orphans below this process become its children, and their CPU time is counted once it waits for them."""
GOAL = 0.70
"""Highest ratio to the wall time and CPU of one bare command with the same outputs."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Wall and CPU seconds."""

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Result:
    """One peer: seconds, ratios to one bare command, bytes of all segments, and SSIM by rung."""

    peer: str
    wall: float
    cpu: float
    wall_to_bare: float
    cpu_to_bare: float
    bytes: int
    ssim: dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.sh bench transcode", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long the film is")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    with tempfile.TemporaryDirectory(prefix="bench-transcode-") as folder:
        results = asyncio.run(_compare(Path(folder), options.rounds, options.seconds))
    if options.json:
        sys.stdout.write(json.dumps({"goal": GOAL, "results": [asdict(result) for result in results]}) + "\n")
    else:
        _print(results)
    return 0


async def _compare(folder: Path, rounds: int, seconds: float) -> list[Result]:
    sys.stderr.write("making the film\n")
    source = await asyncio.to_thread(make_source, folder / "film.mp4", seconds)
    plan = plan_of(await Prober().probe(str(source), asset_type=AssetType.VIDEO), AssetType.VIDEO)
    costs: dict[str, list[Cost]] = {name: [] for name in PEERS}
    made: dict[str, Path] = {}
    for turn in range(rounds):
        for name in PEERS:
            sys.stderr.write(f"round {turn + 1} of {rounds}: {name}\n")
            cost, made[name] = await _measure(name, plan, source, folder / f"{name}-{turn}")
            costs[name].append(cost)
    sys.stderr.write("likeness\n")
    likeness = {name: await _likeness(plan, source, where) for name, where in made.items()}
    bare = _median(costs["one bare command"])
    return [_result(name, _median(costs[name]), bare, made[name], likeness[name]) for name in PEERS]


async def _measure(name: str, plan: Plan, source: Path, folder: Path) -> tuple[Cost, Path]:
    await asyncio.to_thread(folder.mkdir)
    cpu, began = _cpu(), time.perf_counter()
    where = await PEERS[name](plan, source, folder)
    wall = time.perf_counter() - began
    await asyncio.to_thread(_reap_orphans)
    return Cost(wall, _cpu() - cpu), where


def _reap_orphans() -> None:
    """Wait for what ended children left. bwrap does not wait for the first process of its namespace."""
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def _cpu() -> float:
    """Sum the CPU seconds of this process and of its ended children."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _median(costs: list[Cost]) -> Cost:
    return Cost(statistics.median(cost.wall for cost in costs), statistics.median(cost.cpu for cost in costs))


def _result(name: str, cost: Cost, bare: Cost, folder: Path, ssim: dict[str, float]) -> Result:
    size = sum(path.stat().st_size for path in folder.glob("*.ts"))
    return Result(name, cost.wall, cost.cpu, cost.wall / bare.wall, cost.cpu / bare.cpu, size, ssim)


async def _likeness(plan: Plan, source: Path, folder: Path) -> dict[str, float]:
    """Compute the SSIM of each rung to the source at that rung's size."""
    sizes = {rung.name: f"{rung.width}:{rung.height}" for rung in plan.rungs}
    return {name: await _ssim(path, source, sizes[name]) for name, path in playlists(plan, folder).items()}


async def _ssim(made: Path, source: Path, size: str) -> float:
    graph = f"[1:v]scale={size}:flags=bicubic,format=yuv420p[r];[0:v]setpts=PTS-STARTPTS[m];[m][r]ssim"
    argv = ["ffmpeg", "-nostdin", "-hide_banner", "-i", str(made), "-i", str(source), "-filter_complex", graph]
    process = await asyncio.create_subprocess_exec(*argv, "-f", "null", "-", stderr=asyncio.subprocess.PIPE)
    async with asyncio.timeout(DEADLINE):
        _, log = await process.communicate()
    found = re.search(rb"SSIM .*All:([0-9.]+)", log)
    if not found:
        raise RuntimeError(log.decode(errors="replace")[-500:])
    return round(float(found[1]), 5)


def _print(results: list[Result]) -> None:
    rungs = list(results[0].ssim)
    sys.stdout.write(
        f"{'':22}{'wall s':>8}{'cpu s':>8}{'bytes':>11}   to bare: wall   cpu   SSIM: {'  '.join(rungs)}\n"
    )
    for one in results:
        ssim = "  ".join(f"{one.ssim[name]:.3f}" for name in rungs)
        costs = f"{one.peer:22}{one.wall:8.1f}{one.cpu:8.1f}{one.bytes:11}"
        sys.stdout.write(f"{costs}{one.wall_to_bare:16.2f}{one.cpu_to_bare:6.2f}         {ssim}\n")
    ours = results[0]
    met = max(ours.wall_to_bare, ours.cpu_to_bare) <= GOAL
    sys.stdout.write(
        f"goal: at most {GOAL} times the wall time and CPU of one bare command: {'met' if met else 'missed'}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
