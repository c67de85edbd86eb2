"""Factories of workers that the tests run in the sandbox's child processes."""

import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from PIL import Image

from handlers.image import worker
from handlers.image.rendering import placeholder, resampling


def without_libvips() -> Callable[[str], str]:
    """Return the image worker in a process that cannot import pyvips."""
    sys.modules["pyvips"] = None  # type: ignore[assignment] # Python then raises ModuleNotFoundError
    return worker.build()


def failing() -> Callable[[str], str]:
    """Return an image worker with a bug: a picture 77 pixels wide raises an unforeseen error."""
    made = placeholder.thumbhash

    def thumbhash(image: Image.Image) -> str:
        if image.width == 77:
            raise LookupError("nobody foresaw this")
        return made(image)

    mock.patch.object(placeholder, "thumbhash", thumbhash).start()
    return worker.build()


def stripped() -> Callable[[str], str]:
    """Return a worker like `loaders` that strips a JPEG of its metadata first."""
    return loaders(strip=True)


def loaders(*, strip: bool = False) -> Callable[[str], str]:
    """Return a worker that runs a libvips operation. A job is `operation path`, the reply its result or error."""
    pyvips = resampling.load()

    def attempt(line: str) -> str:
        operation, path = line.split(" ", 1)
        content = bytearray(Path(path).read_bytes())
        if strip:
            resampling.strip_metadata(content)
        try:
            found = pyvips.Operation.call(operation, content if operation.endswith("_buffer") else path)
        except pyvips.Error as error:
            return f"refused: {error}"
        return f"{found.width}x{found.height} {sorted(found.get_fields())}"

    return attempt


def decoder() -> Callable[[str], str]:
    """Return a worker that replies which library decodes a JPEG at half its scale. A job is the path."""
    worker.build()

    def attempt(path: str) -> str:
        with Image.open(path) as image:
            size = image.width // 4, image.height // 4
            made = resampling.decode_shrunk(Path(path), image, 2, size)
        return "Pillow" if made is None else f"libvips {made.mode} {made.size}"

    return attempt


def failing_pages() -> Callable[[str], str]:
    """Return a worker for pages with a bug: every page raises an unforeseen error."""

    def work(_line: str) -> str:
        raise LookupError("nobody foresaw this")

    return work
