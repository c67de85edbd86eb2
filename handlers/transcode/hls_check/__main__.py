"""The command `python -m handlers.transcode.hls_check [--json] [--sample] [--deadline S] URL|DIR|FILE`.

Its status is 0 for a clean presentation, 1 for one with findings, 2 for wrong use.
"""

import argparse
import asyncio
import sys

from handlers.transcode.hls_check.conformance import DEADLINE, check
from handlers.transcode.hls_check.measure import FULL, READ_WHOLE, SAMPLE, Depth
from handlers.transcode.hls_check.report import Report
from handlers.transcode.hls_check.source import SourceError, open_source


async def run(target: str, depth: Depth, deadline: float) -> Report:
    async with open_source(target) as (source, master):
        return await check(source, master, depth, deadline)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m handlers.transcode.hls_check", description="Checks an HLS presentation."
    )
    parser.add_argument("target", help="a master playlist's address, or a folder or file")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--sample", action="store_true", help=f"read {READ_WHOLE} segments of a variant, not all")
    parser.add_argument("--deadline", type=float, default=DEADLINE, metavar="S", help="seconds for everything (600)")
    options = parser.parse_args()
    try:
        report = asyncio.run(run(options.target, SAMPLE if options.sample else FULL, options.deadline))
    except (SourceError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(report.to_json() if options.json else report)
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main())
