"""Looks at the user's settings before anything is started, so that one message names all that is wrong with them."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deploy.local import clamav, ports, programs, services
from deploy.local.child import PartError
from media.settings import Settings, load, variable

STAND_INS = {"database_url": "postgresql://localhost", "output_bucket": "bucket"}
"""For required settings that the stack makes itself; the others are queues' addresses."""


def check(signatures: Path, environ: Mapping[str, str] = os.environ) -> None:
    """Raise SettingsError that names every MEDIA_ variable that cannot work; `signatures` is clamd's own folder."""
    given = services.chosen(environ)
    values = {name: given.get(variable(name)) or _otherwise(name) for name in Settings.model_fields}
    load(env_file=None, check=lambda _: _local_mistakes(signatures, environ), **values)


def _otherwise(name: str) -> Any:
    field = Settings.model_fields[name]
    return STAND_INS.get(name, "http://localhost") if field.is_required() else field.get_default()


def _local_mistakes(signatures: Path, environ: Mapping[str, str]) -> dict[str, str]:
    looks: dict[str, Callable[[], Any]] = {
        "MEDIA_LOCAL_CLAMAV_DATABASE": lambda: clamav.find_signatures(signatures, environ),
        "MEDIA_LOCAL_FFMPEG": lambda: programs.ffmpeg(environ),
        "MEDIA_LOCAL_FFPROBE": lambda: programs.ffprobe(environ),
    }
    lines = ports.mistakes(environ)
    for name, look in looks.items():
        try:
            if environ.get(name):
                look()
        except PartError as error:
            lines[name] = str(error).removeprefix(f"{name}=")
    return lines
