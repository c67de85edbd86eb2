"""Every setting of the service: read once from the environment (and `.env`), checked, frozen.

`load()` reports everything that is wrong in one message. The table in docs/configuration.md is made from this file.
"""

import os
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from media.asset import AssetType
from media.setting_rules import (
    Bucket,
    ClamdAddresses,
    EventBusName,
    Host,
    HttpUrl,
    Origins,
    PostgresDsn,
    PrivateKey,
    PublicUrl,
    RedisUrl,
    RoleArn,
    SharedSecrets,
    trim,
    trim_secret,
)

QUEUES = ("uploads", "images", "transcodes", "transcode-events", "recordings")
MIB = 1024 * 1024
GIB = 1024 * MIB

Names = Annotated[tuple[str, ...], NoDecode]
"""Comma-separated in the environment."""

_CLOUDFRONT = ["cloudfront_domain", "cloudfront_key_pair_id", "cloudfront_private_key"]
_BINDS = "Addresses that it listens on, comma-separated; `::` is IPv4's too"


class SettingsError(Exception):
    """The environment does not describe a service that can run; the message lists everything wrong, a line each."""


type Check = Callable[["Settings"], Mapping[str, str]]
"""Checks what one process needs beyond the common rules. Returns the wrong variables, each with the reason."""


def _named(name: str) -> Any:
    """Return the alias of a field with a platform-wide name, which carries no prefix of ours."""
    return AliasChoices(name, name.lower())


class Settings(BaseSettings):
    """The service's settings. Sizes are bytes, times seconds, unless a name says otherwise."""

    model_config = SettingsConfigDict(
        env_prefix="MEDIA_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        populate_by_name=True,
    )

    # --- Names the platform already uses
    database_url: PostgresDsn = Field(description="Postgres; `postgresql+asyncpg://` is understood too")
    database_statement_cache: int = Field(
        100, ge=0, le=1000, description="Prepared statements of a connection; 0 behind a PgBouncer before 1.21"
    )
    output_bucket: Bucket = Field(
        validation_alias=_named("OUTPUT_BUCKET"), description="The bucket of uploads and outputs"
    )
    aws_region: str = Field("eu-central-1", validation_alias=_named("AWS_REGION"), description="AWS region")
    aws_endpoint_url: HttpUrl | None = Field(
        None,
        validation_alias=_named("AWS_ENDPOINT_URL"),
        description="Another endpoint for all of AWS",
    )
    mediaconvert_endpoint: HttpUrl | None = Field(
        None,
        validation_alias=_named("MEDIACONVERT_ENDPOINT"),
        description="MediaConvert's endpoint, when not the region's",
    )
    mediaconvert_role_arn: RoleArn = Field(
        "",
        validation_alias=_named("MEDIACONVERT_ROLE_ARN"),
        description="The role that MediaConvert assumes",
    )
    cloudfront_domain: Host | None = Field(
        None,
        validation_alias=_named("CLOUDFRONT_DOMAIN"),
        description="Without it, and for signed files without a key, S3 presigned URLs are handed out",
    )
    cloudfront_key_pair_id: str | None = Field(
        None,
        validation_alias=_named("CLOUDFRONT_KEY_PAIR_ID"),
        description="The id of CloudFront's public key",
    )
    cloudfront_private_key: PrivateKey = Field(
        None,
        validation_alias=_named("CLOUDFRONT_PRIVATE_KEY"),
        description=r"PEM; a literal `\n` is understood",
    )
    cloudfront_distribution_id: str | None = Field(
        None,
        validation_alias=_named("CLOUDFRONT_DISTRIBUTION_ID"),
        description="The consumers remove deleted and rejected files from its caches",
    )
    event_bus: EventBusName | None = Field(
        None, description="Name or ARN of the EventBridge bus that is told of every change; empty: nobody is"
    )
    redis_url: RedisUrl | None = Field(None, validation_alias=_named("REDIS_URL"), description="Shared rate limits")

    # --- Queues
    uploads_queue_url: HttpUrl = Field(description="S3 notifications and `scan.requested`")
    images_queue_url: HttpUrl = Field(description="`image.requested`")
    transcodes_queue_url: HttpUrl = Field(description="`transcode.requested`")
    transcode_events_queue_url: HttpUrl = Field(description="MediaConvert's events")
    recordings_queue_url: HttpUrl = Field(description="`webinar.recording`")
    queues: Names = Field(QUEUES, description="The queues that this consumer drains")

    # --- Consumer
    concurrency: int = Field(10, ge=1, le=500, description="Messages at work at once, per queue")
    prefetch: int = Field(20, ge=0, le=100, description="Messages held beyond those at work, per queue")
    pollers: int = Field(
        4, ge=1, le=20, description="Receives under way at once while batches come back full, per queue"
    )
    visibility_timeout: int = Field(
        60, ge=10, le=3600, description="How long a received message is hidden; also the longest lease"
    )
    receive_wait: int = Field(20, ge=0, le=20, description="Long polling")
    max_attempts: int = Field(5, ge=1, le=15, description="Attempts of one stage before the asset fails")
    retry_base: float = Field(2.0, gt=0, description="First delay before a retry; doubles each time, with full jitter")
    retry_cap: float = Field(300.0, gt=0, le=43_200, description="The longest delay before a retry")
    drain_timeout: float = Field(
        25.0, gt=0, le=118, description="Longest drain after SIGTERM; keep it below ECS's stopTimeout"
    )
    consumer_port: int = Field(8006, ge=0, le=65_535, description="/livez, /readyz and /metrics of the consumer")
    consumer_host: str = Field("0.0.0.0", description=_BINDS)  # noqa: S104 - in a container
    reconcile_interval: float = Field(30.0, gt=0, description="Between two searches for work that stands still")
    pending_expiry: int = Field(86_400, ge=60, description="How long an upload may take to come before it is `expired`")
    expired_retention: int = Field(2_592_000, ge=86_400, description="How long an `expired` upload is kept")
    deleted_retention: int | None = Field(
        2_592_000, ge=1_209_600, description="How long the record of a `deleted` asset is kept; unset: for ever"
    )
    plan_retention: int | None = Field(
        2_592_000, ge=1_209_600, description="How long the plan of a transcoding that is done is kept; unset: for ever"
    )
    timeline_retention: int | None = Field(
        None, ge=2_592_000, description="How long entries of timelines are kept, but scans' verdicts; unset: for ever"
    )

    # --- Scan
    clamd: ClamdAddresses = Field(
        "tcp://127.0.0.1:3310",
        description="`tcp://host:port` or `unix:///path`, percent-encoded; several, comma-separated, stand in for each"
        " other",
    )
    clamd_timeout: float = Field(120.0, gt=0, description="For one verdict, besides the transfer at 10 MiB/s or more")
    scan_concurrency: int = Field(10, ge=1, le=100, description="Scans at once, per clamd; its MaxThreads")
    scan_spool_bytes: int = Field(
        8 * GIB, ge=1, description="Bytes scanned at once, per clamd, on its disk; by a unix socket, on the consumer's"
    )
    scan_max_bytes: int = Field(
        2000 * MIB, ge=1, lt=2 * GIB, description="Largest scanned file; clamd's StreamMaxLength and MaxFileSize"
    )
    unscannable_video: Literal["reject", "reencode"] = Field(
        "reject",
        description="What to do with a video or recording that is too large to scan",
    )
    quarantine_bucket: Bucket | None = Field(None, description="Where infected objects are moved to")
    recording_buckets: Names = Field((), description="Buckets that the webinar service may name")

    # --- Images
    image_workers: int = Field(2, ge=1, le=64, description="Child processes that decode and encode")
    image_max_pixels: int = Field(100_000_000, ge=1, description="Width × height of one picture")
    image_max_total_pixels: int = Field(200_000_000, ge=1, description="Frames × width × height")
    image_memory: int = Field(1536 * MIB, ge=256 * MIB, description="Address space of one child")
    image_budget: int = Field(2 * GIB, ge=256 * MIB, description="Memory that all pictures at work may need together")
    image_timeout: float = Field(60.0, gt=0, description="For one picture")
    document_pages: int = Field(
        0, ge=0, le=300, description="Pages of a document of which pictures are made, beside the preview of the first"
    )

    # --- Sizes
    image_max_bytes: int = Field(50 * MIB, ge=1, description="Of an uploaded image")
    document_max_bytes: int = Field(100 * MIB, ge=1, description="Of an uploaded document")
    audio_max_bytes: int = Field(1 * GIB, ge=1, description="Of an uploaded audio file")
    video_max_bytes: int = Field(50 * GIB, ge=1, le=50 * GIB, description="Of an uploaded video")

    # --- Video
    transcoder: Literal["mediaconvert", "ffmpeg"] = Field(
        "mediaconvert", description="Which engine transcodes: AWS's, or the consumer itself with ffmpeg"
    )
    ffmpeg: str = Field("ffmpeg", description="The ffmpeg program")
    ffmpeg_jobs: int = Field(1, ge=1, le=16, description="Sources that ffmpeg transcodes at once, per consumer")
    ecs_agent_uri: str | None = Field(
        None,
        validation_alias=_named("ECS_AGENT_URI"),
        description="Set by ECS: where a task asks not to be stopped while ffmpeg works",
    )
    mediaconvert_queue: str | None = Field(None, description="ARN of MediaConvert's queue; default when empty")
    max_duration: int = Field(8 * 3600, ge=1, description="Of a video or a recording")
    ffprobe: str = Field("ffprobe", description="The ffprobe program")

    # --- API
    api_port: int = Field(8005, ge=0, le=65_535, description="The API's port")
    api_host: str = Field("0.0.0.0", description=_BINDS)  # noqa: S104 - in a container
    api_drain_delay: float = Field(
        5.0, ge=0, le=100, description="How long requests are still served after SIGTERM, while /readyz answers 503"
    )
    api_keepalive_timeout: float = Field(
        75.0,
        gt=0,
        le=3600,
        description="For the next request of a connection to arrive completely; longer than the load balancer's",
    )
    api_send_timeout: float = Field(
        30.0, gt=0, le=600, description="How long a client may read nothing of an answer before it is cut"
    )
    api_connections: int = Field(
        4000,
        ge=1,
        le=60_000,
        description="Connections open at once in one process; beyond, each new one ends an idle one, or is refused",
    )
    public_url: PublicUrl | None = Field(
        None, description="How clients reach the API; required and https, unless it listens on loopback only"
    )
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        (), description="Networks of proxies whose `Forwarded` or `X-Forwarded-*` count where there is no public URL"
    )
    jwt_secret: SharedSecrets = Field(
        None, description="HS256 secret, at least 32 bytes; while it is rotated two, a line each"
    )
    jwt_jwks_url: HttpUrl | None = Field(None, description="RS256/ES256 keys")
    jwt_issuer: str | None = Field(None, description="Required `iss`")
    jwt_audience: str | None = Field(None, description="Required `aud`")
    callback_secret: SharedSecrets = Field(
        None, description="Signs the internal callbacks and the HLS tokens; while it is rotated two, a line each"
    )
    cors_origins: Annotated[Names, Origins] = Field((), description="Origins that may call the API from a browser")
    rate_limit_reads: int = Field(3000, ge=0, description="Reads of one user in a minute; 0: no limit")
    rate_limit_writes: int = Field(1200, ge=0, description="Uploads, confirmations, … of one user in a minute")
    rate_limit_urls: int = Field(1800, ge=0, description="URLs made for one user in a minute; at least 100")
    rate_limit_streams: int = Field(120, ge=0, description="Event streams and tickets of one user in a minute")
    s3_public_endpoint_url: HttpUrl | None = Field(None, description="S3 as the browser reaches it")
    page: bool = Field(default=False, description="Serve the pages: / for uploads, /ops for operators")
    page_token: SecretStr | None = Field(
        None, description="Token that /dev/token gives the development page; made by the embedded stack"
    )
    page_scanner: str = Field("", description="The scanner's signatures, as the development page names them")

    # --- Start and telemetry
    commit: str = Field("unknown", description="The commit of the code, for `media_build_info`; set in the image")
    environment: str = Field("", description="Name of the deployment (`prod`), for `target_info`")
    database_wait: float = Field(
        20.0, ge=0, le=600, description="How long a start waits for a Postgres that is away, starts itself or is full"
    )
    log_format: Literal["auto", "json", "console"] = Field("auto", description="auto: console on a terminal")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level logged")

    @field_validator("queues", "recording_buckets", "cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("queues")
    @classmethod
    def _known_queues(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(value) - set(QUEUES))
        if unknown or not value:
            raise ValueError(
                f"must name queues out of {', '.join(QUEUES)}; unknown: {', '.join(unknown) or 'none named'}"
            )
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _trim(cls, value: object, info: ValidationInfo) -> object:
        """Remove the white space that files and editors put around a value. A blank value counts as not set."""
        # Pydantic calls the "before" validator that is defined last first, so this one has to stay below _split.
        if not isinstance(value, str) or not value:
            return value
        field = cls.model_fields[info.field_name or ""]
        trimmed = trim_secret(value) if field.annotation == (SecretStr | None) else trim(value)
        if trimmed:
            return trimmed
        if field.is_required():
            raise PydanticCustomError("missing", "Field required")
        return field.get_default()

    @model_validator(mode="after")
    def _complete_cloudfront(self) -> Self:
        key = (self.cloudfront_key_pair_id, self.cloudfront_private_key)
        if any(key) and not (all(key) and self.cloudfront_domain):
            raise ValueError("go together; CLOUDFRONT_DOMAIN alone serves public files, which need no signature")
        return self

    def queue_urls(self) -> dict[str, str]:
        """Return every queue's URL by the queue's name."""
        return {name: str(getattr(self, name.replace("-", "_") + "_queue_url")) for name in QUEUES}

    def clamds(self) -> list[str]:
        """Return every clamd's address."""
        return [address.strip() for address in self.clamd.split(",")]

    def max_bytes(self) -> dict[str, int]:
        """Return the bytes of the largest upload, by asset type."""
        return {
            "image": self.image_max_bytes,
            "document": self.document_max_bytes,
            "audio": self.audio_max_bytes,
            "video": self.video_max_bytes,
        }

    def takes_unscanned(self, asset_type: AssetType) -> bool:
        """Say whether a file of this type that is too large to scan is transcoded. Otherwise it is rejected."""
        return asset_type is AssetType.VIDEO and self.unscannable_video == "reencode"


def load(env_file: Path | None = Path(".env"), check: Check | None = None, **overrides: Any) -> Settings:
    """Read the settings. Raises SettingsError with one line for each variable that is missing or wrong.

    `check` is called even when single settings are wrong. It sees harmless values in their place, so that one message
    names everything. `overrides` are named by field, and take precedence over the environment.
    """
    lines: dict[str, str] = {}
    stand_ins: dict[str, Any] = {}
    settings: Settings | None = None
    while settings is None:
        try:
            settings = Settings(_env_file=env_file, **{**overrides, **stand_ins})
        except ValidationError as error:
            for problem in error.errors():
                reason = str(problem["msg"]).removeprefix("Value error, ")
                where = problem["loc"]
                # An error without a location is about CloudFront's settings, together.
                names = [n for n in Settings.model_fields if where[0] in {n, variable(n)}] if where else _CLOUDFRONT
                variables = ", ".join(map(variable, names))
                lines.setdefault(variables, "missing" if problem["type"] == "missing" else reason)
                for name in names:
                    # Under both names: a wrong value under the other one would be found again in every round.
                    stand_ins |= dict.fromkeys((name, variable(name)), _harmless_value(name))
        except (OSError, UnicodeDecodeError) as error:
            if env_file is None:
                raise
            lines[f"the file {env_file}"] = f"cannot be read: {error}"
            env_file = None
    for name, reason in {**_wrong_credentials(), **(check(settings) if check else {})}.items():
        lines.setdefault(name, reason)
    if lines:
        report = sorted(f"  {name}: {reason}" for name, reason in lines.items())
        raise SettingsError("settings are missing or wrong:\n" + "\n".join(report))
    return settings


_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def _wrong_credentials() -> dict[str, str]:
    """Return the credentials with a line end. AWS's library reads them itself, and signs with it as it stands."""
    values = {name: os.environ.get(name, "") for name in _CREDENTIALS}
    return {n: "has white space or a line end around it" for n, value in values.items() if value != value.strip()}


def _harmless_value(name: str) -> Any:
    """Return a value to stand in for a wrong one, so that the other settings can be checked."""
    field = Settings.model_fields[name]
    required = {"database_url": "postgresql://", "output_bucket": "bucket"}.get(name, "http://queue")
    return required if field.is_required() else field.get_default()


def variable(name: str) -> str:
    """Return the environment variable of a field."""
    alias = Settings.model_fields[name].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else f"MEDIA_{name.upper()}"
