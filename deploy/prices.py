"""List prices, measured figures and the cost formulas. Dollars, seconds, bytes."""

from dataclasses import dataclass

from handlers.transcode.hls_check.measure import LOOKED_AT
from handlers.transcode.planning.billed_seconds import HD_FROM
from handlers.transcode.planning.ladder import LADDER
from handlers.transcode.planning.plan import SEGMENT_SECONDS

HOUR = 3600
UNCHECKED = "**not checked**"
OLD = "**not checked** since 2021, quoted by others"


@dataclass(frozen=True, slots=True)
class Figure:
    """One input of the formulas and its origin. Prices are in dollars, times in seconds."""

    name: str
    value: float
    what: str
    origin: str


PRICES = (
    Figure("vcpu_hour", 0.04048, "Fargate, Linux on x86, a vCPU for an hour", "us-east-1, June 2026, quoted by others"),
    Figure("gb_hour", 0.004445, "Fargate, a GB of memory for an hour", "us-east-1, June 2026, quoted by others"),
    Figure("sqs_request", 0.40e-6, "SQS, standard queue, a request", "us-east-1, March 2026"),
    Figure("sqs_fair", 0.10e-6, "SQS, surcharge for a request with a MessageGroupId", "us-east-1, March 2026"),
    Figure("s3_write", 5e-6, "S3 Standard, a PUT, COPY, POST or LIST", "us-east-1, quoted by others"),
    Figure("s3_read", 0.4e-6, "S3 Standard, any other request; deletions are free", "us-east-1, quoted by others"),
    Figure(
        "balancer_hour",
        0.0225,
        "a load balancer for an hour, without its capacity units",
        "us-east-1, AWS's own page, September 2026",
    ),
    Figure("sd_minute", 0.0075, "MediaConvert, AVC below 720 lines, up to 30 fps, a minute of output", OLD),
    Figure("hd_minute", 0.015, "MediaConvert, AVC from 720 lines, up to 30 fps, a minute of output", OLD),
    Figure("audio_minute", 0.003, "MediaConvert, audio only, a minute of output", UNCHECKED),
)
MEASURED = (
    Figure("render_cpu", 0.53, "CPU seconds to render a JPEG of 12 megapixels, five WebPs", "`./run.sh bench image`"),
    Figure("consumer_cpu", 0.029, "CPU seconds of the consumer itself for an image", "`./run.sh bench pipeline`"),
    Figure("scan_rate", 150e6, "bytes from S3 through clamd in a second, with one signature", "`./run.sh bench scan`"),
    Figure("image_bytes", 2.83e6, "bytes of such an image", "`./run.sh bench image`"),
    Figure("sqs_requests", 4.5, "SQS requests for an image, including those of S3", "`./run.sh bench pipeline`"),
    Figure("s3_writes", 7, "PUTs for an image: the upload, five renditions, tags", "`./run.sh bench pipeline`"),
    Figure("s3_reads", 4, "other S3 requests for an image", "`./run.sh bench pipeline`"),
    Figure("ffmpeg_cpu", 2.98, "CPU seconds of ffmpeg for a second of 1080p, five rungs", "`./run.sh bench transcode`"),
    Figure("consumer_vcpus", 2, "vCPUs of a consumer's task", "`service.yaml`"),
    Figure("consumer_gb", 10, "GB of a consumer's task", "`service.yaml`"),
    Figure("api_vcpus", 0.5, "vCPUs of an API's task", "`service.yaml`"),
    Figure("api_gb", 1, "GB of an API's task", "`service.yaml`"),
    Figure("fast_factor", 2, "price factor for output above 30 fps", OLD),
    Figure("latency", 30, "seconds within which an image should be ready", "the objective"),
)


@dataclass(frozen=True, slots=True)
class Costs:
    """The formulas. Names passed to `of` are names of figures."""

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

    @property
    def own_video_hour(self) -> float:
        """The cost of an hour of 1080p transcoded with ffmpeg by fully loaded consumers."""
        return self.of("ffmpeg_cpu") / self.of("consumer_vcpus") * self.consumer_hour

    def video_hour(self) -> dict[str, float]:
        """Return the costs of an hour of 1080p: every rung of the ladder, and the MP4 at the height of the largest."""
        short_sides = [step.short for step in LADDER] + [LADDER[-1].short]
        hd = sum(side >= HD_FROM for side in short_sides)
        minutes = HOUR / 60
        converted = minutes * (hd * self.of("hd_minute") + (len(short_sides) - hd) * self.of("sd_minute"))
        segments = len(LADDER) * HOUR / SEGMENT_SECONDS
        looked_at = len(LADDER) * min(LOOKED_AT, HOUR / SEGMENT_SECONDS)
        s3 = segments * self.of("s3_write") + looked_at * self.of("s3_read")
        return {"MediaConvert": converted, "S3": s3, "together": converted + s3}


def build_costs(prices: tuple[Figure, ...], measured: tuple[Figure, ...]) -> Costs:
    """Return the formulas with these figures."""
    return Costs({figure.name: figure.value for figure in (*prices, *measured)})
