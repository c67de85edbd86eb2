"""`./run.sh bench consume [--messages N] [--json] [--memory]`: drain S3 notifications with an empty handler.

Ours beside the loops that one writes first and the consumers that others use, each in a process of its own on one
core, from a loopback SQS of ours on another core, at 0 and at 10 ms per call. Rounds are interleaved and the best
counts: whatever else the machine does can only slow a run down.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tests.bench.consume_goals import Goal, goals
from tests.bench.consume_peers import BODIES, Peer, peers
from tests.bench.consume_run import Plan, Result, RunError, cores, measure
from tests.bench.notifications import notification

MESSAGES = 20_000
SLOW = 0.01
"""Seconds per call in the second half of the runs."""
ROUNDS = 3
MEMORY_MESSAGES, MEMORY_FROM, MEMORY_STEP = 200_000, 20_000, 10_000
FEWEST = 500


@dataclass(frozen=True, slots=True)
class Run:
    """The best of one peer's rounds at one latency, or why there is none."""

    peer: str
    latency: float
    result: Result | None
    missing: str = ""


def main() -> int:
    options = _options()
    if options.memory:
        return _memory(as_json=options.json)
    capacity = _capacity(options.messages)
    if not options.json:
        sys.stdout.write(_capacity_line(capacity))
    runs = _all(options.messages, options.rounds, options.only.split(",") if options.only else [])
    reached = goals({(run.peer, run.latency): run.result for run in runs if run.result})
    if options.json:
        found = [asdict(run) for run in runs]
        report = {"capacity": asdict(capacity), "runs": found, "goals": [asdict(goal) for goal in reached]}
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        sys.stdout.write(_table(runs) + _goals(reached))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.sh bench consume", description=__doc__)
    parser.add_argument("--messages", type=int, default=MESSAGES, help="for ours and the fast ones; slow ones get less")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", default="", help="names or parts of names, by comma")
    parser.add_argument("--memory", action="store_true", help=f"ours over {MEMORY_MESSAGES:,} messages instead")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args()
    if options.messages < FEWEST:
        parser.error(f"at least {FEWEST} messages")
    return options


def _all(messages: int, rounds: int, only: Sequence[str]) -> list[Run]:
    chosen = [peer for peer in peers() if not only or any(part in peer.name for part in only)]
    absent = {peer.name: _missing(peer) for peer in chosen}
    present = [peer for peer in chosen if not absent[peer.name]]
    runs = [Run(peer.name, 0.0, None, absent[peer.name]) for peer in chosen if absent[peer.name]]
    for latency in (0.0, SLOW):
        found: dict[str, list[Run]] = {peer.name: [] for peer in present}
        for turn in range(rounds):
            for peer in present:
                if turn and (peer.slow or found[peer.name][-1].missing):
                    continue  # Noise does not matter to a slow peer, and each of its rounds takes minutes.
                sys.stderr.write(f"round {turn + 1}, {latency * 1000:g} ms: {peer.name}\n")
                found[peer.name].append(_run(peer, messages, latency))
        runs += [_best(tries) for tries in found.values()]
    return runs


def _missing(peer: Peer) -> str:
    sys.stderr.write(f"preparing {peer.name}\n")
    return peer.missing()


def _run(peer: Peer, messages: int, latency: float) -> Run:
    """Measure one peer. A slow peer drains only a share of the messages, since all would take many minutes."""
    share = 10 if peer.slow and latency else 4 if peer.slow else 1
    try:
        result = measure(peer.command, peer.bodies(), Plan(max(FEWEST, messages // share), latency))
    except RunError as error:
        return Run(peer.name, latency, None, str(error))
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        return Run(peer.name, latency, None, f"its messages could not be made: {error}")
    return Run(peer.name, latency, result)


def _best(tries: Sequence[Run]) -> Run:
    done = [run for run in tries if run.result]
    return max(done, key=lambda run: run.result.per_second if run.result else 0.0, default=tries[-1])


def _capacity(messages: int) -> Result:
    """Measure the server with a client that costs next to nothing."""
    bodies = [notification(number) for number in range(BODIES)]
    return measure(lambda url: (sys.executable, "-m", "tests.bench.sqs_load", url), bodies, Plan(messages * 2))


def _capacity_line(found: Result) -> str:
    client, server = cores()
    where = f"client on core {client}, server on core {server}" if server is not None else "ONE CORE for both"
    own = found.per_second / found.server_load
    return f"The loopback SQS itself: {found.per_second:,.0f} messages/s, {own:,.0f} per second of its CPU; {where}.\n"


def _table(runs: Sequence[Run]) -> str:
    lines = [
        f"{'':26}{'ms/call':>8}{'messages/s':>12}{'CPU ms/message':>16}{'requests/message':>18}{'server busy':>13}"
    ]
    for run in runs:
        if run.result is None:
            lines.append(f"{run.peer:26}{run.latency * 1000:8.0f}  not measured: {run.missing}")
            continue
        r = run.result
        lines.append(
            f"{run.peer:26}{run.latency * 1000:8.0f}{r.per_second:12,.0f}{r.cpu_ms:16.3f}{r.requests:18.3f}"
            f"{r.server_load:13.0%}"
        )
    return "\n".join(lines) + "\n"


def _goals(reached: Sequence[Goal]) -> str:
    return "".join(
        f"{'met    ' if goal.met else 'NOT MET'} {goal.text}: {goal.value:.2f} (goal {goal.least:g})\n"
        for goal in reached
    )


def _memory(*, as_json: bool) -> int:
    ours = peers()[0]
    samples = range(MEMORY_FROM, MEMORY_MESSAGES, MEMORY_STEP)
    found = measure(ours.command, ours.bodies(), Plan(MEMORY_MESSAGES, samples=list(samples)))
    after = found.memory[1:]  # The first sample is taken when the clock starts.
    growth = max(after) / after[0] - 1
    if as_json:
        sys.stdout.write(json.dumps({"resident": after, "growth": growth}) + "\n")
    else:
        sys.stdout.write(
            f"{after[0] / 2**20:.1f} MiB after {MEMORY_FROM:,} messages, at most {max(after) / 2**20:.1f} until"
            f" {MEMORY_MESSAGES:,}: {growth:+.1%}, {'met' if growth <= 0.05 else 'NOT MET'} (goal 5 %)\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
