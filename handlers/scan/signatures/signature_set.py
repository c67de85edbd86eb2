"""One set of signatures: its files, their digests, and what ClamAV's headers say about them. Pure."""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MANIFEST_LIMIT = 64 * 1024
"""Bytes of a manifest, at most. One with ten files has 2 KB."""
MAX_SIZE = 4 * 1024**3
"""Bytes of one file, at most. The largest official one has 0.2 GB."""
OFFICIAL = ("main", "daily")
"""The databases that a set from the public mirror must have. `bytecode` may be missing."""
PLAIN = "hdb|hsb|hdu|hsu|mdb|msb|mdu|msu|ndb|ndu|ldb|ldu|idb|cdb|crb|pdb|gdb|wdb|ftm|fp|sfp|ign|ign2|yar|yara"
"""Extensions of databases that carry no digital signature, for a regular expression."""
_DATABASE = re.compile(rf"[A-Za-z0-9_][\w.-]*\.(cvd|cld|cvd\.sign|cbc|{PLAIN})")
"""Names of the files that clamd loads."""
_HEADER = 512
"""Bytes of the header of a .cvd file."""


class SignatureFile(BaseModel):
    """One file of a set. `version` is the one in a CVD's header."""

    model_config = ConfigDict(frozen=True)

    name: Annotated[str, StringConstraints(pattern=rf"^{_DATABASE.pattern}$", max_length=100)]
    size: int = Field(gt=0, le=MAX_SIZE)
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    version: int | None = None
    built_at: datetime | None = None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file's digest and, of a CVD, its header."""
        version, built_at = None, None
        if path.suffix in {".cvd", ".cld"}:
            with path.open("rb") as file:
                fields = file.read(_HEADER).decode("ascii", "replace").strip().split(":")
            # ClamAV-VDB:date:version:signatures:level:md5:signature:builder:seconds
            if fields[0] == "ClamAV-VDB" and len(fields) > 8 and fields[2].isdecimal() and fields[8].isdecimal():
                version, built_at = int(fields[2]), datetime.fromtimestamp(int(fields[8]), UTC)
        size = path.stat().st_size
        return cls(name=path.name, size=size, sha256=_digest(path), version=version, built_at=built_at)


class Manifest(BaseModel):
    """What a set consists of. Two sets with the same files have the same `id`."""

    model_config = ConfigDict(frozen=True)

    files: tuple[SignatureFile, ...] = Field(min_length=1, max_length=100)
    published_at: datetime | None = None

    @property
    def id(self) -> str:
        """The set's name: 16 hexadecimal digits of a digest over its files' digests."""
        text = "".join(f"{file.name} {file.sha256}\n" for file in sorted(self.files, key=lambda file: file.name))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def versions(self) -> Mapping[str, int]:
        """The versions of its databases by name, such as `{"daily": 27801}`."""
        return {file.name.partition(".")[0]: file.version for file in self.files if file.version is not None}

    @property
    def built_at(self) -> datetime | None:
        """When the newest of its databases was built. None for a set without any."""
        return max((file.built_at for file in self.files if file.built_at), default=None)

    def age_days(self, now: datetime | None = None) -> float | None:
        """Return the days since it was built, for logs."""
        return (
            round(((now or datetime.now(UTC)) - self.built_at).total_seconds() / 86_400, 1) if self.built_at else None
        )

    def regression(self, held: "Manifest | None") -> str:
        """Say why this set must not replace `held`; empty when it may. A set never loses a database or a version."""
        if held is None:
            return ""
        ours = self.versions
        if missing := sorted(held.versions.keys() - ours.keys()):
            return f"it has no {', '.join(missing)}"
        older = [
            f"{name} {ours[name]} before {version}" for name, version in held.versions.items() if ours[name] < version
        ]
        return f"it is older: {', '.join(older)}" if older else ""


def is_database(path: Path) -> bool:
    """Say whether clamd would load this file."""
    return _DATABASE.fullmatch(path.name) is not None and path.is_file()


def describe(folder: Path) -> Manifest | None:
    """Return the manifest of the signatures in `folder`; None when there are none. Raises OSError."""
    paths = sorted(filter(is_database, folder.iterdir()))
    files = tuple(SignatureFile.read(path) for path in paths if path.stat().st_size)
    return Manifest(files=files) if files else None


def mismatch(manifest: Manifest, folder: Path) -> str:
    """Say which file in `folder` is not the manifest's; empty when all are."""
    for file in manifest.files:
        path = folder / file.name
        if not path.is_file() or path.stat().st_size != file.size:
            return f"{file.name} is not whole"
        if _digest(path) != file.sha256:
            return f"{file.name} has another digest"
    return ""


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
