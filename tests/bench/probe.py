"""`./run.sh bench probe [--megabytes N] [--json]`: how fast a film without an index is probed, all packets read.

CPU is that of ffprobe, which lists the packets, and ours, which reads the list. The sandbox is left out: what it runs
is not counted among this process's children.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from handlers.transcode.probing.packet_scan import SCAN_OPTIONS, read_scan

MEGABYTES = 400
GOAL = 300.0
"""Megabytes of a file for a second of CPU."""
ROUNDS = 3
SECONDS = 10


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.sh bench probe", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--megabytes", type=int, default=MEGABYTES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-probe-") as folder:
        film = make_film(Path(folder), options.megabytes)
        size = film.stat().st_size / 1e6
        costs = [measure(film) for _ in range(ROUNDS)]
    wall, cpu = min(wall for wall, _ in costs), min(cpu for _, cpu in costs)
    found = {"megabytes": size, "wall": wall, "cpu": cpu, "per_wall": size / wall, "per_cpu": size / cpu, "goal": GOAL}
    if options.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return 0
    sys.stdout.write(
        f"{size:.0f} MB: wall {wall:.2f} s, {size / wall:.0f} MB/s; CPU {cpu:.2f} s, {size / cpu:.0f} MB/s\n"
    )
    sys.stdout.write(f"goal: at least {GOAL:.0f} MB for a second of CPU: {'met' if size / cpu >= GOAL else 'missed'}\n")
    return 0


def make_film(folder: Path, megabytes: int) -> Path:
    """Write a Matroska film of 20 Mbit/s without cues, as a recorder does that was not stopped."""
    part, film = folder / "part.mkv", folder / "film.mkv"
    picture = f"testsrc2=s=1280x720:r=30:d={SECONDS},noise=alls=20:allf=t"
    coded = ["-c:v", "libx264", "-preset", "ultrafast", "-b:v", "20M", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    run("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", f"sine=d={SECONDS}:r=48000", *coded, str(part))
    times = max(0, round(megabytes * 1e6 / part.stat().st_size) - 1)
    run("-stream_loop", str(times), "-i", str(part), "-c", "copy", "-live", "1", str(film))
    return film


def run(*arguments: str) -> None:
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *arguments], check=True, timeout=600)


def measure(film: Path) -> tuple[float, float]:
    """List and read all packets once. Return wall and CPU seconds."""
    began, cpu = time.perf_counter(), cpu_seconds()
    argv = ["ffprobe", "-v", "error", *SCAN_OPTIONS, str(film)]
    listed = subprocess.run(argv, check=True, timeout=600, capture_output=True).stdout
    scan = read_scan(listed, {0: 0.001, 1: 0.001}, {0, 1}, begin=0.0)
    if len(scan.tracks) != 2:
        raise RuntimeError("not all tracks were listed")
    return time.perf_counter() - began, cpu_seconds() - cpu


def cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    sys.exit(main())
