"""The settings of the scanner's container. It needs few of the service's, and none of its secrets."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from handlers.scan.clamd.instream import Address
from handlers.scan.signatures.freshclam import Upstream
from handlers.scan.signatures.signature_set import PLAIN
from media.setting_rules import Bucket, HttpUrl
from media.settings import SettingsError

_CUSTOM = re.compile(rf"\S+/[A-Za-z0-9_][\w.-]*\.({PLAIN})")


def _is_custom(url: str) -> str:
    if not _CUSTOM.fullmatch(url):
        raise ValueError(f"must end with the name of a plain database ({PLAIN.replace('|', ', ')})")
    return url


CustomDatabase = Annotated[HttpUrl, AfterValidator(_is_custom)]


class ScannerSettings(BaseSettings):
    """Where signatures come from, and where they are kept. Times are seconds."""

    model_config = SettingsConfigDict(env_prefix="MEDIA_", frozen=True, env_ignore_empty=True, populate_by_name=True)

    output_bucket: Bucket | None = Field(
        None,
        validation_alias=AliasChoices("OUTPUT_BUCKET", "output_bucket"),
        description="The bucket with the mirrored signatures. Without it, each scanner asks the public mirror",
    )
    aws_region: str = Field("eu-central-1", validation_alias=AliasChoices("AWS_REGION", "aws_region"))
    aws_endpoint_url: HttpUrl | None = Field(
        None, validation_alias=AliasChoices("AWS_ENDPOINT_URL", "aws_endpoint_url")
    )
    clamd: Annotated[str, AfterValidator(lambda value: str(Address.parse(value)))] = Field(
        "unix:///run/clamd/clamd.sock", description="Where clamd listens, as in its configuration"
    )
    signatures_prefix: str = Field(
        "signatures/", pattern=r"^[^/].*/$", description="The prefix of the mirrored signatures in the bucket"
    )
    signatures_folder: Path = Field(
        Path("/var/lib/clamav"), description="Where sets are kept; its link `current` is clamd's DatabaseDirectory"
    )
    signatures_interval: float = Field(600.0, ge=1, description="Between two looks for new signatures in the bucket")
    signatures_mirror: str = Field(
        "database.clamav.net",
        pattern=r"^[^\s]+$",
        description="The mirror that freshclam asks: a host name, the address of a private one, "
        "or `none` for a set without ClamAV's own databases",
    )
    signatures_custom: Annotated[tuple[CustomDatabase, ...], NoDecode] = Field(
        (),
        description="Addresses of further databases, private or of third parties (`https://…/NAME.ndb`). "
        "A set is whole only with all of them. They carry no digital signature: who writes there decides",
    )
    log_format: Literal["auto", "json", "console"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("signatures_custom", mode="before")
    @classmethod
    def _custom_list(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("signatures_custom")
    @classmethod
    def _custom_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len({url.rpartition("/")[2] for url in value}) < len(value):
            raise ValueError("two databases have the same file name")
        return value

    @property
    def upstream(self) -> Upstream:
        """Where databases come from."""
        return Upstream(None if self.signatures_mirror == "none" else self.signatures_mirror, self.signatures_custom)


def load_scanner_settings() -> ScannerSettings:
    """Read the settings from the environment. Raises SettingsError with a line for each that is wrong."""
    try:
        return ScannerSettings()
    except ValidationError as error:
        lines = [f"  {problem['loc'][0]}: {problem['msg'].removeprefix('Value error, ')}" for problem in error.errors()]
        raise SettingsError("settings are missing or wrong:\n" + "\n".join(lines)) from error
