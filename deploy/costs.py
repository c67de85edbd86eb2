"""Compute the cost of the service from measured figures and list prices: `python -m deploy.costs [NAME=VALUE …]`.

Each NAME=VALUE replaces a price or a measured figure of `deploy.prices`. `--write` writes the tables into
docs/capacity.md, and the recording rules for the dashboard's costs into deploy/prometheus; both with the values of
`deploy.prices`. A test fails when they are out of date. `--rules` prints the rules with the values given.
"""

import argparse
import re
import sys
from dataclasses import replace
from pathlib import Path

from deploy import cost_rules
from deploy.prices import MEASURED, OLD, PRICES, UNCHECKED, Figure, build_costs

PAGE = Path(__file__).resolve().parents[1] / "docs" / "capacity.md"
_MARKS = "<!-- python -m deploy.costs --write: {} -->"


def tables(prices: tuple[Figure, ...], measured: tuple[Figure, ...]) -> str:
    """Return the figures and the results as Markdown tables."""
    costs = build_costs(prices, measured)
    rate, latency = costs.images_a_second, costs.of("latency")
    unchecked = [f"`{one.name}`" for one in prices if one.origin in {UNCHECKED, OLD}]
    consumer = (
        f"**One consumer** does {rate:.1f} images a second ({costs.image_cpu:.2f} CPU seconds each) and costs"
        f" ${costs.consumer_hour:.4f} an hour. With a backlog of up to {latency * rate:.0f} images per consumer an"
        f" image is ready within {latency:.0f} s.\n"
    )
    ffmpeg_hours = costs.of("ffmpeg_cpu") / costs.of("consumer_vcpus")
    ffmpeg = (
        f"**With `MEDIA_TRANSCODER=ffmpeg`** the same hour costs ${costs.own_video_hour:.2f} of a consumer's time"
        f" instead of MediaConvert, and keeps one busy for {ffmpeg_hours:.1f} hours.\n"
    )
    idle = (
        f"**Idle**, with the minimum of two consumers, two APIs and a load balancer: ${costs.idle_hour:.3f} an hour,"
        f" ${costs.idle_hour * 730:.0f} a month.\n"
    )
    parts = [
        _figures("price", prices, money=True),
        _figures("figure", measured, money=False),
        consumer,
        _results("1,000 images", costs.thousand_images()),
        _results("an hour of video, 1080p", costs.video_hour()),
        ffmpeg,
        idle,
        f"Every sum that contains {', '.join(unchecked)} is only as reliable as that price.\n" if unchecked else "",
    ]
    return "\n".join(parts)


def _figures(head: str, figures: tuple[Figure, ...], *, money: bool) -> str:
    sign = "$" if money else ""
    rows = [f"| `{one.name}` | {sign}{cost_rules.decimal(one.value)} | {one.what} | {one.origin} |" for one in figures]
    return f"| {head} | | | from |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"


def _results(what: str, parts: dict[str, float]) -> str:
    head = " | ".join(parts)
    dollars = " | ".join(f"${value:.4f}" if value < 1 else f"${value:.2f}" for value in parts.values())
    return f"| {what}: {head} |\n|{'---|' * len(parts)}\n| {dollars} |\n"


def page(text: str, generated: str) -> str:
    """Return the page with `generated` between its marks."""
    begin, end = _MARKS.format("begin"), _MARKS.format("end")
    return re.sub(f"(?s){re.escape(begin)}.*{re.escape(end)}", lambda _: f"{begin}\n{generated}{end}", text)


def outdated() -> list[str]:
    """Return the names of the generated files that are out of date."""
    text, found = PAGE.read_text(), []
    if _MARKS.format("begin") not in text or text != page(text, tables(PRICES, MEASURED)):
        found.append(PAGE.name)
    rules = cost_rules.rules(build_costs(PRICES, MEASURED))
    if not cost_rules.FILE.is_file() or cost_rules.FILE.read_text() != rules:
        found.append(cost_rules.FILE.name)
    return found


def _override(figures: tuple[Figure, ...], given: dict[str, float]) -> tuple[Figure, ...]:
    return tuple(replace(one, value=given[one.name], origin="given") if one.name in given else one for one in figures)


def _assignment(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    if name not in {one.name for one in (*PRICES, *MEASURED)}:
        raise argparse.ArgumentTypeError(f"no figure is called {name!r}")
    try:
        return name, float(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number") from error


def main(arguments: list[str]) -> int:
    """Print or write the tables and rules; exit status 0 done, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m deploy.costs", description=__doc__)
    parser.add_argument("figures", type=_assignment, nargs="*", metavar="NAME=VALUE")
    parser.add_argument("--write", action="store_true", help="write docs/capacity.md and deploy/prometheus/costs.yaml")
    parser.add_argument("--rules", action="store_true", help="print the recording rules instead of the tables")
    options = parser.parse_args(arguments)
    given = dict(options.figures)
    if options.write and given:
        parser.error("--write takes the figures of deploy/prices.py only")
    figures = _override(PRICES, given), _override(MEASURED, given)
    rules = cost_rules.rules(build_costs(*figures))
    if options.write:
        PAGE.write_text(page(PAGE.read_text(), tables(*figures)))
        cost_rules.FILE.write_text(rules)
    else:
        sys.stdout.write(rules if options.rules else tables(*figures))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
