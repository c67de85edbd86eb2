"""`./run.sh bench playlist [--json]`: how long rewriting a playlist blocks the event loop, with and without its yields.

Two hours of video in segments of six seconds, each signed for S3, as where there is no CloudFront. Another task takes
turns meanwhile: the longest time between two of its turns is what every other request waits. Figures are medians.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise

from api.hls_playback import rewrite
from media.aws.signed_urls import Credentials, S3Presigner, bucket_address

ROUNDS = 25
SEGMENTS = 1200


@dataclass(frozen=True, slots=True)
class Rewriting:
    """Milliseconds of one rewriting from its start to its end, and the longest for which it blocked the loop."""

    whole_ms: float
    blocked_ms: float


async def measure(clock: Callable[[], float]) -> Rewriting:
    """Rewrite the playlist once, beside a task that notes when it has its turn."""
    credentials = Credentials("key", "secret", "token" * 100)
    presigner = S3Presigner(bucket_address("bench", "eu-central-1"), "eu-central-1", credentials, datetime.now(UTC))
    text = "#EXTM3U\n" + "".join(f"#EXTINF:6.0,\nclip_{n:05}.ts\n" for n in range(SEGMENTS))
    turns: list[float] = []

    async def take_turns() -> None:
        while True:
            turns.append(time.perf_counter())
            await asyncio.sleep(0)

    other = asyncio.create_task(take_turns())
    begun = time.perf_counter()
    await rewrite(text, "processed/x", "T", lambda key: presigner.url(key, seconds=3600), clock)
    ended = time.perf_counter()
    other.cancel()
    moments = [begun, *turns, ended]
    blocked = max(later - earlier for earlier, later in pairwise(moments))
    return Rewriting((ended - begun) * 1000, blocked * 1000)


def compare(rounds: int) -> dict[str, Rewriting]:
    """Measure both, interleaved. A clock that stands still never asks for a yield."""
    clocks: dict[str, Callable[[], float]] = {"yielding": time.perf_counter, "not yielding": lambda: 0.0}
    found: dict[str, list[Rewriting]] = {name: [] for name in clocks}
    for _ in range(rounds):
        for name, clock in clocks.items():
            found[name].append(asyncio.run(measure(clock)))
    return {
        name: Rewriting(
            statistics.median(one.whole_ms for one in measured), statistics.median(one.blocked_ms for one in measured)
        )
        for name, measured in found.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.sh bench playlist", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    found = compare(options.rounds)
    ours, whole = found["yielding"], found["not yielding"]
    ratios = {"blocked": ours.blocked_ms / whole.blocked_ms, "whole": ours.whole_ms / whole.whole_ms}
    if options.json:
        sys.stdout.write(json.dumps({name: asdict(one) for name, one in found.items()} | {"ratios": ratios}) + "\n")
        return 0
    for name, one in found.items():
        sys.stdout.write(f"{name:<13} {one.whole_ms:6.1f} ms, blocks the loop for {one.blocked_ms:6.1f} ms at most\n")
    sys.stdout.write(f"ratio         {ratios['whole']:6.2f}                        {ratios['blocked']:6.2f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
