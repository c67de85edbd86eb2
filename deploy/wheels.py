"""The libraries inside the wheels that production installs: what their files show, whatever their metadata say.

A wheel states one license, often that of its Python code alone, and carries compiled libraries of others.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

LICENSES = {
    "Xau": "MIT",
    "avif": "BSD-2-Clause",
    "brotlicommon": "MIT",
    "brotlidec": "MIT",
    "de265": "LGPL-3.0-or-later",
    "freetype": "FTL",
    "harfbuzz": "MIT",
    "heif": "LGPL-3.0-or-later",
    "jpeg": "IJG AND BSD-3-Clause",
    "lcms2": "MIT",
    "lzma": "0BSD",
    "openjp2": "BSD-2-Clause",
    "png16": "libpng-2.0",
    "qpdf": "Apache-2.0",
    "sharpyuv": "BSD-3-Clause",
    "tiff": "libtiff",
    "vips": "LGPL-2.1-or-later",
    "webp": "BSD-3-Clause",
    "webpdemux": "BSD-3-Clause",
    "webpmux": "BSD-3-Clause",
    "xcb": "MIT",
    "zstd": "BSD-3-Clause",
}
"""The license of each library that may be in a wheel, as its own source states it. Where there is a choice, ours."""
GPL_CODE = {
    "x264": b"x264 - core ",
    "x265": b"HEVC encoder version ",
    "fftw": b"fftw-3.",
    "gsl": b"gsl: %s:%d: ERROR",
    "imagequant": b"liq_attr_create",
    "poppler": b"poppler/",
    "readline": b"readline_callback_handler",
}
"""What a binary contains that has one of these GPL libraries in it, linked statically or not."""
_BUNDLED = re.compile(r"\.libs/lib(?P<name>.+?)-[0-9a-f]{8,}\.so(?:\.(?P<version>[\d.]+))?$")
_BINARY = re.compile(r"\.so(\.[\d.]+)?$")


@dataclass(frozen=True, slots=True)
class Library:
    """A shared library in a wheel. `version` is that of its file name: the one of its interface."""

    name: str
    version: str
    license: str


def libraries(package: str) -> list[Library]:
    """Return the libraries that an installed wheel bundles. The license of one that nobody looked up is `unknown`."""
    found = (bundled_library(str(path)) for path in _binaries(package))
    return sorted((library for library in found if library), key=lambda library: library.name.lower())


def bundled_library(path: str) -> Library | None:
    """Return the library that a file in a wheel's `.libs` folder is, or None for another file."""
    match = _BUNDLED.search(path)
    return match and Library(match["name"], match["version"] or "", LICENSES.get(match["name"], "unknown"))


def gpl_code(package: str) -> list[str]:
    """Return the names of the GPL libraries whose code is in the binaries of an installed wheel."""
    contents = [path.read_bytes() for path in _binaries(package)]
    return [name for name, mark in GPL_CODE.items() if any(mark in content for content in contents)]


def _binaries(package: str) -> Iterator[Path]:
    installed = metadata.distribution(package)
    for file in installed.files or []:
        if _BINARY.search(file.name):
            yield Path(str(installed.locate_file(file)))
