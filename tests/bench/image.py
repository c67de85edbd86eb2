"""`./run.sh bench image [--json]`: our renderer beside plain Pillow, sharp and pyvips, on the same four pictures.

Rounds are interleaved, so that a busy machine is busy for all; figures are medians. Ratios are to sharp.
"""

import argparse
import json
import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.image_meter import Cost, Server
from tests.bench.image_peers import peers
from tests.bench.image_sources import make_sources
from tests.bench.image_ssim import Reference

ROUNDS = 5
NAMES = ("w150", "w320", "w640", "w1024", "w1920")
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Result:
    """One peer on one picture: seconds, MiB, bytes, images per second of two jobs at once, SSIM by rendition."""

    source: str
    peer: str
    wall: float
    cpu: float
    peak_mib: float
    bytes: int
    pair_per_second: float
    ssim: dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.sh bench image", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", help="the name of one picture")
    options = parser.parse_args()
    all_peers = peers()
    missing = {peer.name: peer.missing for peer in all_peers if peer.missing}
    with tempfile.TemporaryDirectory(prefix="bench-image-") as folder, ExitStack() as stack:
        servers = [stack.enter_context(Server(peer)) for peer in all_peers if not peer.missing]
        sources = make_sources(Path(folder))
        chosen = {name: path for name, path in sources.items() if options.only in {None, name}}
        results = [r for name, path in chosen.items() for r in _compare(name, path, servers, options.rounds)]
    _print(results, missing, as_json=options.json)
    return 0


def _compare(name: str, source: Path, servers: list[Server], rounds: int) -> list[Result]:
    folders = {server.peer.name: _folders(source, server.peer.name) for server in servers}
    single: dict[str, list[Cost]] = {peer: [] for peer in folders}
    pair: dict[str, list[Cost]] = {peer: [] for peer in folders}
    for turn in range(rounds + 1):
        sys.stderr.write(f"{name}: round {turn} of {rounds}\n")
        for server in servers:
            jobs = [(source, folder) for folder in folders[server.peer.name]]
            costs = server.measure(jobs[:1]), server.measure(jobs)
            if turn:  # The first round warms caches and pools.
                single[server.peer.name].append(costs[0])
                pair[server.peer.name].append(costs[1])
    reference = Reference(source)
    return [_result(name, peer, single[peer], pair[peer], folders[peer][0], reference) for peer in folders]


def _folders(source: Path, peer: str) -> list[Path]:
    made = [source.parent / f"{source.stem}-{peer}-{n}" for n in range(2)]
    for folder in made:
        folder.mkdir()
    return made


def _result(name: str, peer: str, single: list[Cost], pair: list[Cost], folder: Path, reference: Reference) -> Result:
    files = {rendition: folder / f"{rendition}.webp" for rendition in NAMES if (folder / f"{rendition}.webp").exists()}
    return Result(
        source=name,
        peer=peer,
        wall=statistics.median(cost.wall for cost in single),
        cpu=statistics.median(cost.cpu for cost in single),
        peak_mib=max(cost.peak for cost in single) / MIB,
        bytes=sum(path.stat().st_size for path in files.values()),
        pair_per_second=2 / statistics.median(cost.wall for cost in pair),
        ssim={rendition: round(reference.ssim(path), 5) for rendition, path in files.items()},
    )


def _ratios(result: Result, base: Result) -> dict[str, float]:
    """Compute the ratios of the goals. `ssim` is the worst difference of any rendition."""
    return {
        "wall": result.wall / base.wall,
        "cpu": result.cpu / base.cpu,
        "peak": result.peak_mib / base.peak_mib,
        "bytes": result.bytes / base.bytes,
        "pair": result.pair_per_second / base.pair_per_second,
        "ssim": min(result.ssim[name] - base.ssim[name] for name in base.ssim),
    }


def _print(results: list[Result], missing: dict[str, str], *, as_json: bool) -> None:
    sharp = {result.source: result for result in results if result.peer == "sharp"}
    rows = [(r, _ratios(r, sharp[r.source]) if r.source in sharp else {}) for r in results]
    if as_json:
        found = [{**asdict(result), "to_sharp": ratios} for result, ratios in rows]
        sys.stdout.write(json.dumps({"results": found, "missing": missing}) + "\n")
        return
    sys.stdout.write(
        f"{'':28}{'wall s':>8}{'cpu s':>8}{'MiB':>7}{'bytes':>9}{'2 by 2/s':>9}"
        "   to sharp: wall   cpu  peak bytes  pair    ssim\n"
    )
    for result, ratios in rows:
        sys.stdout.write(_row(result, ratios) + "\n")
    for name, reason in missing.items():
        sys.stdout.write(f"not taking part: {name}: {reason}\n")


def _row(result: Result, ratios: dict[str, float]) -> str:
    own = (
        f"{result.source:14}{result.peer:14}{result.wall:8.3f}{result.cpu:8.3f}{result.peak_mib:7.0f}"
        f"{result.bytes:9}{result.pair_per_second:9.2f}"
    )
    if not ratios:
        return own
    return (
        own
        + " " * 12
        + "".join(f"{ratios[k]:6.2f}" for k in ("wall", "cpu", "peak", "bytes", "pair"))
        + f"{ratios['ssim']:8.4f}"
    )


if __name__ == "__main__":
    sys.exit(main())
