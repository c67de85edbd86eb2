"""The sets on the scanner's disk: `sets/ID/` with `sets/ID.json` beside it, and `current`, the link that clamd reads.

A set's folder never changes once it has its name, and the link changes in one step, so that clamd cannot see half a
set, whatever ends this process.
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import structlog
from pydantic import ValidationError

from handlers.scan.signatures.signature_set import Manifest, describe, mismatch

log = structlog.get_logger(__name__)

KEPT = 2
"""Sets on disk: the current one, and the one before it."""


class SignatureDisk:
    """The sets below `root`. Only one process may use them at a time."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._sets = root / "sets"
        self.incoming = root / "incoming"
        """Where the next set is put together."""
        self.link = root / "current"
        """clamd's DatabaseDirectory."""
        self.current: Manifest | None = None

    def open(self) -> None:
        """Find the set to begin with: the current one, else the newest whole one, else one that lies loose in `root`.

        A loose set is one that the image holds, or that another program left in the volume. Raises OSError.
        """
        self._sets.mkdir(parents=True, exist_ok=True)
        self.empty_incoming()
        for folder in self._sets.iterdir():
            if folder.is_dir() and not folder.with_suffix(".json").is_file():  # adopted in part
                shutil.rmtree(folder, ignore_errors=True)
        named = self.link.readlink().name if self.link.is_symlink() else ""
        whole = self.others(refused=())
        for manifest in sorted(whole, key=lambda one: one.id == named, reverse=True)[:1]:
            self.activate(manifest)
        if self.current is None and (loose := describe(self._root)):
            for file in loose.files:
                shutil.copyfile(self._root / file.name, self.incoming / file.name)
            self.adopt(loose)
            self.activate(loose)

    def others(self, refused: Iterable[str]) -> list[Manifest]:
        """Return the whole sets besides the current one and those `refused`, the newest first."""
        found: list[tuple[float, Manifest]] = []
        for path in self._sets.glob("*.json"):
            try:
                manifest = Manifest.model_validate_json(path.read_bytes())
                wrong = mismatch(manifest, self._sets / manifest.id)
            except (OSError, ValidationError) as error:
                wrong, manifest = f"{type(error).__name__}: {error}", None
            if wrong or manifest is None:
                log.warning("signatures.damaged", set=path.stem, reason=wrong)
                self._remove(path.stem)
            elif manifest.id not in refused and manifest != self.current:
                found.append((path.stat().st_mtime, manifest))
        return [manifest for _, manifest in sorted(found, key=lambda pair: pair[0], reverse=True)]

    def empty_incoming(self) -> None:
        """Make an empty folder for the next set."""
        shutil.rmtree(self.incoming, ignore_errors=True)
        self.incoming.mkdir()

    def reuse(self, sha256: str, name: str) -> bool:
        """Put a file of the current set into the next one, if it has this digest. main.cvd rarely changes."""
        held = self.current.files if self.current else ()
        if not any(file.sha256 == sha256 and file.name == name for file in held):
            return False
        os.link(self.link / name, self.incoming / name)
        return True

    def adopt(self, manifest: Manifest) -> str:
        """Check the files in `incoming` and give them their place. Returns what is wrong. Raises OSError."""
        if wrong := mismatch(manifest, self.incoming):
            return wrong
        place = self._sets / manifest.id
        shutil.rmtree(place, ignore_errors=True)
        self.incoming.rename(place)
        part = place.with_suffix(".part")
        part.write_text(manifest.model_dump_json())
        part.replace(place.with_suffix(".json"))
        self.incoming.mkdir()
        return ""

    def activate(self, manifest: Manifest) -> None:
        """Make it the set that clamd loads next. Raises OSError."""
        following = self._root / "next"
        following.unlink(missing_ok=True)
        following.symlink_to(Path("sets") / manifest.id)
        following.replace(self.link)
        self.current = manifest

    def prune(self) -> None:
        """Remove all but the newest KEPT sets; never the current one."""
        for manifest in self.others(refused=())[KEPT - 1 :]:
            self._remove(manifest.id)

    def _remove(self, name: str) -> None:
        (self._sets / f"{name}.json").unlink(missing_ok=True)
        shutil.rmtree(self._sets / name, ignore_errors=True)
