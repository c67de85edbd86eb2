"""What the service costs, reckoned from measured figures and list prices: `python -m deploy.costs [NAME=VALUE …]`.

Each NAME=VALUE takes the place of a price or of a measured figure below. `--write` puts the tables, with the values as
they stand here, into docs/capacity.md; a test sees that they are those.
"""

import argparse
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from handlers.transcode.check.measure import LOOKED_AT
from handlers.transcode.ladder import LADDER
from handlers.transcode.plan import SEGMENT_SECONDS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "capacity.md"
HOUR = 3600
HD_FROM = 720
"""Lines from which MediaConvert bills an output as HD."""
_MARKS = "<!-- python -m deploy.costs --write: {} -->"
_UNCHECKED = "**not checked**"


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the reckoning, and where it is from. Prices are in dollars, times in seconds."""

    name: str
    value: float
    what: str
    origin: str


PRICES = (
    Figure("vcpu_hour", 0.04048, "Fargate, Linux on x86, a vCPU for an hour", "us-east-1, March 2026"),
    Figure("gb_hour", 0.004445, "Fargate, a GB of memory for an hour", "us-east-1, March 2026"),
    Figure("sqs_request", 0.40e-6, "SQS, standard queue, a request", "us-east-1, March 2026"),
    Figure("sqs_fair", 0.10e-6, "SQS, on top for a request with a MessageGroupId", "us-east-1, March 2026"),
    Figure("s3_write", 5e-6, "S3, a PUT, COPY, POST or LIST", _UNCHECKED),
    Figure("s3_read", 0.4e-6, "S3, any other request", _UNCHECKED),
    Figure("balancer_hour", 0.0225, "a load balancer for an hour, its capacity units apart", _UNCHECKED),
    Figure("sd_minute", 0.0075, "MediaConvert, AVC below 720 lines, up to 30 fps, a minute of output", _UNCHECKED),
    Figure("hd_minute", 0.015, "MediaConvert, AVC from 720 lines, up to 30 fps, a minute of output", _UNCHECKED),
)
MEASURED = (
    Figure("render_cpu", 0.535, "CPU seconds to render a JPEG of 12 megapixels, five WebPs", "`./run.sh bench image`"),
    Figure("consumer_cpu", 0.0385, "CPU seconds of the consumer itself for an image", "`./run.sh bench pipeline`"),
    Figure("scan_rate", 200e6, "bytes that clamd scans in a second, with few signatures", "`./run.sh bench scan`"),
    Figure("image_bytes", 2.83e6, "bytes of such an image", "`./run.sh bench image`"),
    Figure("sqs_requests", 4.5, "SQS requests for an image, S3's own included", "`./run.sh bench pipeline`"),
    Figure("s3_writes", 7, "PUTs for an image: the upload, five renditions, tags", "`./run.sh bench pipeline`"),
    Figure("s3_reads", 4, "other S3 requests for an image", "`./run.sh bench pipeline`"),
    Figure("consumer_vcpus", 2, "vCPUs of a consumer's task", "`service.yaml`"),
    Figure("consumer_gb", 8, "GB of a consumer's task", "`service.yaml`"),
    Figure("api_vcpus", 0.5, "vCPUs of an API's task", "`service.yaml`"),
    Figure("api_gb", 1, "GB of an API's task", "`service.yaml`"),
    Figure("latency", 30, "seconds within which an image shall be ready", "the objective"),
)


@dataclass(frozen=True, slots=True)
class Costs:
    """The formulas. Every name is a figure's."""

    figures: dict[str, float]

    def of(self, name: str) -> float:
        return self.figures[name]

    @property
    def image_cpu(self) -> float:
        return self.of("render_cpu") + self.of("consumer_cpu") + self.of("image_bytes") / self.of("scan_rate")

    @property
    def images_a_second(self) -> float:
        return self.of("consumer_vcpus") / self.image_cpu

    @property
    def consumer_hour(self) -> float:
        return self.of("consumer_vcpus") * self.of("vcpu_hour") + self.of("consumer_gb") * self.of("gb_hour")

    @property
    def api_hour(self) -> float:
        return self.of("api_vcpus") * self.of("vcpu_hour") + self.of("api_gb") * self.of("gb_hour")

    @property
    def idle_hour(self) -> float:
        return 2 * self.consumer_hour + 2 * self.api_hour + self.of("balancer_hour")

    def thousand_images(self) -> dict[str, float]:
        compute = 1000 / (self.images_a_second * HOUR) * self.consumer_hour
        sqs = 1000 * self.of("sqs_requests") * (self.of("sqs_request") + self.of("sqs_fair"))
        s3 = 1000 * (self.of("s3_writes") * self.of("s3_write") + self.of("s3_reads") * self.of("s3_read"))
        return {"compute": compute, "SQS": sqs, "S3": s3, "together": compute + sqs + s3}

    def video_hour(self) -> dict[str, float]:
        """Of 1080p: every rung of the ladder, and the MP4 at the height of the largest."""
        sides = [step.short for step in LADDER] + [LADDER[-1].short]
        hd = sum(side >= HD_FROM for side in sides)
        minutes = HOUR / 60
        converted = minutes * (hd * self.of("hd_minute") + (len(sides) - hd) * self.of("sd_minute"))
        segments = len(LADDER) * HOUR / SEGMENT_SECONDS
        looked_at = len(LADDER) * min(LOOKED_AT, HOUR / SEGMENT_SECONDS)
        s3 = segments * self.of("s3_write") + looked_at * self.of("s3_read")
        return {"MediaConvert": converted, "S3": s3, "together": converted + s3}


def tables(prices: tuple[Figure, ...], measured: tuple[Figure, ...]) -> str:
    """Figures and results, in Markdown."""
    costs = Costs({figure.name: figure.value for figure in (*prices, *measured)})
    parts = [
        _figures("price", prices, money=True),
        _figures("figure", measured, money=False),
        _capacity(costs),
        _results("1,000 images", costs.thousand_images()),
        _results("an hour of video, 1080p", costs.video_hour()),
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


def _idle(costs: Costs) -> str:
    return (
        f"**Idle**, at the least (two consumers, two APIs, a load balancer): ${costs.idle_hour:.3f} an hour,"
        f" ${costs.idle_hour * 730:.0f} a month.\n"
    )


def _doubt(prices: tuple[Figure, ...]) -> str:
    names = [f"`{one.name}`" for one in prices if one.origin == _UNCHECKED]
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


def outdated() -> bool:
    """Whether docs/capacity.md says something else than this."""
    text = PAGE.read_text()
    return _MARKS.format("begin") not in text or text != page(text, tables(PRICES, MEASURED))


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
    parser.add_argument("--write", action="store_true", help="into docs/capacity.md")
    options = parser.parse_args(arguments)
    given = dict(options.figures)
    if options.write and given:
        parser.error("--write takes the figures as they stand in this file")
    made = tables(_changed(PRICES, given), _changed(MEASURED, given))
    if options.write:
        PAGE.write_text(page(PAGE.read_text(), made))
    else:
        sys.stdout.write(made)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
