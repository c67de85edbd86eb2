"""The bill of materials of an image: the packages that its layers hold, Debian's and Python's, with their licenses.

It reads the image's files and starts nothing of it.
"""

import re
import tarfile
from email import message_from_bytes
from typing import IO, Any

from deploy.production import component, stated_license
from deploy.wheels import bundled_library

_COPYRIGHT = re.compile(r"usr/share/doc/(?P<name>[^/]+)/copyright")
_LICENSE = re.compile(r"(?m)^License:[ \t]*(\S.*)$")
_UNDER_DOC = re.compile(r"usr/share/doc/(?P<name>[^/]+)")


def components(files: IO[bytes]) -> list[dict[str, Any]]:
    """Return the components of an image from the tar file of its files. Raises tarfile.TarError."""
    installed: bytes = b""
    copyrights: dict[str, str] = {}
    links: dict[str, str] = {}
    found: list[dict[str, Any]] = []
    with tarfile.open(fileobj=files, mode="r|") as archive:
        for member in archive:
            if member.issym() and (place := _UNDER_DOC.fullmatch(member.name)):
                links[place["name"]] = member.linkname.rstrip("/").rpartition("/")[2]
            if library := bundled_library(member.name):
                found.append(component(library.name, library.version, library.license))
            if not member.isfile():
                continue
            if member.name == "var/lib/dpkg/status":
                installed = _read(archive, member)
            elif place := _COPYRIGHT.fullmatch(member.name):
                texts = _LICENSE.findall(_read(archive, member).decode(errors="replace"))
                copyrights[place["name"]] = " AND ".join(sorted(set(texts))) or f"see /{member.name}"
            elif member.name.endswith(".dist-info/METADATA"):
                about = message_from_bytes(_read(archive, member))
                found.append(component(about["Name"], about["Version"], stated_license(about), "pypi"))
    for stanza in installed.strip().split(b"\n\n"):
        about = message_from_bytes(stanza)
        if about["Status"] == "install ok installed":
            name = about["Package"]
            text = copyrights.get(links.get(name, name), "unknown")
            found.append(component(name, about["Version"], text, "deb/debian"))
    return sorted(found, key=lambda each: (each.get("purl", ""), each["name"]))


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    content = archive.extractfile(member)
    return content.read() if content else b""
