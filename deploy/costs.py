"""What the service costs, reckoned from measured figures and list prices: `python -m deploy.costs [NAME=VALUE …]`.

Each NAME=VALUE takes the place of a price or of a measured figure below. `--write` puts the tables, with the values as
they stand here, into docs/capacity.md and the rules that the dashboard's costs come from into deploy/prometheus; a test
sees that they are those. `--rules` prints those rules with the values given.
"""

import argparse
import re
import sys
from dataclasses import replace
from pathlib import Path

from deploy import cost_rules
from deploy.prices import MEASURED, OLD, PRICES, UNCHECKED, Costs, Figure, reckoned

PAGE = Path(__file__).resolve().parents[1] / "docs" / "capacity.md"
_MARKS = "<!-- python -m deploy.costs --write: {} -->"


def tables(prices: tuple[Figure, ...], measured: tuple[Figure, ...]) -> str:
    """Figures and results, in Markdown."""
    costs = reckoned(prices, measured)
    parts = [
        _figures("price", prices, money=True),
        _figures("figure", measured, money=False),
        _capacity(costs),
        _results("1,000 images", costs.thousand_images()),
        _results("an hour of video, 1080p", costs.video_hour()),
        _own_video(costs),
        _idle(costs),
        _doubt(prices),
    ]
    return "\n".join(parts)


def _figures(head: str, figures: tuple[Figure, ...], *, money: bool) -> str:
    sign = "$" if money else ""
    rows = [f"| `{one.name}` | {sign}{_plain(one.value)} | {one.what} | {one.origin} |" for one in figures]
    return f"| {head} | | | from |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"


def _capacity(costs: Costs) -> str:
    rate, latency = costs.images_a_second, costs.of("latency")
    return (
        f"**One consumer** does {rate:.1f} images a second ({costs.image_cpu:.2f} CPU seconds each) and costs"
        f" ${costs.consumer_hour:.4f} an hour. With a backlog of up to {latency * rate:.0f} images per consumer an"
        f" image is ready within {latency:.0f} s.\n"
    )


def _own_video(costs: Costs) -> str:
    hours = costs.of("ffmpeg_cpu") / costs.of("consumer_vcpus")
    return (
        f"**With `MEDIA_TRANSCODER=ffmpeg`** the same hour costs ${costs.own_video_hour:.2f} of a consumer's time"
        f" instead of MediaConvert, and keeps one busy for {hours:.1f} hours.\n"
    )


def _idle(costs: Costs) -> str:
    return (
        f"**Idle**, at the least (two consumers, two APIs, a load balancer): ${costs.idle_hour:.3f} an hour,"
        f" ${costs.idle_hour * 730:.0f} a month.\n"
    )


def _doubt(prices: tuple[Figure, ...]) -> str:
    names = [f"`{one.name}`" for one in prices if one.origin in {UNCHECKED, OLD}]
    return f"Every sum with {', '.join(names)} in it is as good as these.\n" if names else ""


def _results(what: str, parts: dict[str, float]) -> str:
    head = " | ".join(parts)
    return f"| {what}: {head} |\n|{'---|' * len(parts)}\n| " + " | ".join(map(_dollars, parts.values())) + " |\n"


def _dollars(value: float) -> str:
    return f"${value:.4f}" if value < 1 else f"${value:.2f}"


def _plain(value: float) -> str:
    return f"{value:.10f}".rstrip("0").rstrip(".")


def page(text: str, made: str) -> str:
    """The page with `made` between the marks."""
    begin, end = _MARKS.format("begin"), _MARKS.format("end")
    return re.sub(f"(?s){re.escape(begin)}.*{re.escape(end)}", lambda _: f"{begin}\n{made}{end}", text)


def outdated() -> list[str]:
    """The files that say something else than this."""
    text, found = PAGE.read_text(), []
    if _MARKS.format("begin") not in text or text != page(text, tables(PRICES, MEASURED)):
        found.append(PAGE.name)
    rules = cost_rules.rules(reckoned(PRICES, MEASURED))
    if not cost_rules.FILE.is_file() or cost_rules.FILE.read_text() != rules:
        found.append(cost_rules.FILE.name)
    return found


def _changed(figures: tuple[Figure, ...], given: dict[str, float]) -> tuple[Figure, ...]:
    return tuple(replace(one, value=given[one.name], origin="given") if one.name in given else one for one in figures)


def _assignment(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    if name not in {one.name for one in (*PRICES, *MEASURED)}:
        raise argparse.ArgumentTypeError(f"no figure is called {name!r}")
    try:
        return name, float(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{value!r} is no number") from error


def main(arguments: list[str]) -> int:
    """Exit status 0 done, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m deploy.costs", description=__doc__)
    parser.add_argument("figures", type=_assignment, nargs="*", metavar="NAME=VALUE")
    parser.add_argument("--write", action="store_true", help="into docs/capacity.md and deploy/prometheus/costs.yaml")
    parser.add_argument("--rules", action="store_true", help="the recording rules instead of the tables")
    options = parser.parse_args(arguments)
    given = dict(options.figures)
    if options.write and given:
        parser.error("--write takes the figures as they stand in this file")
    figures = _changed(PRICES, given), _changed(MEASURED, given)
    rules = cost_rules.rules(reckoned(*figures))
    if options.write:
        PAGE.write_text(page(PAGE.read_text(), tables(*figures)))
        cost_rules.FILE.write_text(rules)
    else:
        sys.stdout.write(rules if options.rules else tables(*figures))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
