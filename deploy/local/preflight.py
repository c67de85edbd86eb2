"""Check of the user's settings before anything is started, so that one message names all errors."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deploy.local import clamav, ports, programs, services
from deploy.local.child import PartError
from media.settings import Settings, load, variable

PLACEHOLDERS = {"database_url": "postgresql://localhost", "output_bucket": "bucket"}
"""Values for required settings that the stack sets itself. The other required ones are addresses of queues."""


def check(signatures: Path, environ: Mapping[str, str] = os.environ) -> None:
    """Raise a SettingsError that names every invalid MEDIA_ variable; `signatures` is clamd's own folder."""
    given = services.user_settings(environ)
    values = {name: given.get(variable(name)) or _default(name) for name in Settings.model_fields}
    load(env_file=None, check=lambda _: _local_mistakes(signatures, environ), **values)


def _default(name: str) -> Any:
    field = Settings.model_fields[name]
    return PLACEHOLDERS.get(name, "http://localhost") if field.is_required() else field.get_default()


def _local_mistakes(signatures: Path, environ: Mapping[str, str]) -> dict[str, str]:
    checks: dict[str, Callable[[], Any]] = {
        "MEDIA_LOCAL_CLAMAV_DATABASE": lambda: clamav.find_signatures(signatures, environ),
        "MEDIA_LOCAL_FFMPEG": lambda: programs.ffmpeg(environ),
        "MEDIA_LOCAL_FFPROBE": lambda: programs.ffprobe(environ),
    }
    errors = ports.mistakes(environ)
    for name, check_value in checks.items():
        try:
            if environ.get(name):
                check_value()
        except PartError as error:
            errors[name] = str(error).removeprefix(f"{name}=")
    return errors
