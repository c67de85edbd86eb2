"""The folder with the state of the stack, and its locks. It can be deleted while no stack runs."""

import contextlib
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from deploy.local.emulator import SAVED_MARK
from deploy.local.ports import Ports

DEFAULT_FOLDER = ".local"
MARKER = ".docfliq-media-state"
MARKER_TEXT = "The embedded stack of Docfliq media keeps its state here. Delete the folder while no stack runs.\n"
UNMARKED_NAMES = {
    *("clamav", "emulator", "logs", "mediaconvert", "postgres", "tmp"),
    *("intact", "lock", "running.json", "running.new", "secrets.json", "secrets.new"),
    *("settings.env", "settings.new", "users"),
}
"""All file names of a folder that a version without the marker made."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class StateInUseError(Exception):
    """Another stack runs on this state folder."""


class ForeignFolderError(Exception):
    """The folder holds other files; the message names it and says what to do."""


class LastShutdown(StrEnum):
    """How the last stack on this folder ended, which decides whether its data can be used."""

    CLEAN = "clean"
    """Emulator and database were stopped in order, or there is no data yet."""
    KILLED = "killed"
    """They were killed, but all that they had written is there. Work may be done twice, which the services allow."""
    INCOMPLETE = "doubtful"
    """The machine went down before the data was flushed to disk, or the emulator had not saved anything yet."""


class Secrets(BaseModel):
    """Secrets that are made once per state folder. They protect only services on a laptop's loopback."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    jwt_secret: str
    callback_secret: str
    postgres_password: str


class Running(BaseModel):
    """The description of a running stack for other commands."""

    model_config = ConfigDict(frozen=True)

    pid: int
    ports: dict[str, int]
    api_url: str
    settings: dict[str, str]


class State:
    """The paths in the folder, and the files that commands share."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.logs = self.root / "logs"
        self.emulator = self.root / "emulator"
        self.postgres = self.root / "postgres"
        self.clamav = self.root / "clamav"
        self.mediaconvert = self.root / "mediaconvert"
        self._lock = self.root / "lock"
        self._users = self.root / "users"
        self._running = self.root / "running.json"
        self._secrets = self.root / "secrets.json"
        self._intact = self.root / "intact"
        self._boot = self.root / "boot"
        self._marker = self.root / MARKER

    def claim(self) -> None:
        """Mark the folder as ours, and create it if it is missing. Raises ForeignFolderError, and then changes nothing.

        Only an empty folder or one with our marker is ever used, since data in it is deleted without asking.
        """
        if self._marker.is_file():
            return
        found = self._names()
        if found and not self._is_legacy():
            raise ForeignFolderError(
                f"MEDIA_LOCAL_STATE={self.root} holds files that are not the stack's ({', '.join(found[:3])}"
                f"{', …' if len(found) > 3 else ''}): name an empty folder, or one that does not exist."  # noqa: PLR2004
                " If an earlier version kept its state there, delete it"
            )
        self.root.mkdir(parents=True, exist_ok=True)
        self._marker.write_text(MARKER_TEXT)

    def _names(self) -> list[str]:
        return sorted(path.name for path in self.root.iterdir()) if self.root.exists() else []

    def _is_legacy(self) -> bool:
        """Tell whether a version without the marker made the folder: it has no other names, and our secrets."""
        if not UNMARKED_NAMES.issuperset(self._names()) or not self._secrets.is_file():
            return False
        try:
            Secrets.model_validate_json(self._secrets.read_bytes())
        except ValidationError:
            return False
        return True

    @contextlib.contextmanager
    def held(self) -> Iterator[int]:
        """Lock the folder for the block; yield the lock's descriptor, for parts that may outlive us.

        The kernel drops the lock when all processes with the descriptor are dead, so a stale pid in a file is never
        taken for a running stack. Raises StateInUseError and ForeignFolderError.
        """
        self.claim()
        self.logs.mkdir(exist_ok=True)
        with self._lock.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StateInUseError(
                    f"a stack already runs on {self.root}: ./run.sh stop ends it; another MEDIA_LOCAL_STATE and"
                    " MEDIA_API_PORT make a second one"
                ) from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            try:
                yield file.fileno()
            finally:
                self._running.unlink(missing_ok=True)

    def is_orphaned(self) -> bool:
        """Tell whether the stack itself was killed, while some of its parts still hold the lock."""
        return self.is_held() and not _is_alive(self._lock.read_text())

    def running(self) -> Running | None:
        """Return the stack that holds this folder now, if it is up."""
        if not self.is_held() or self.is_orphaned() or not self._running.is_file():
            return None
        return Running.model_validate_json(self._running.read_text())

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Keep the command that started the stack from stopping it during the block. Raises ForeignFolderError."""
        self.claim()
        with self._users.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            yield

    def is_used(self) -> bool:
        """Tell whether another command is inside `used` now."""
        return _is_locked(self._users)

    def is_held(self) -> bool:
        """Tell whether a stack runs on this folder, or starts, or stops."""
        return (self._marker.is_file() or self._is_legacy()) and _is_locked(self._lock)

    def announce(self, ports: Ports, api_url: str, settings: Mapping[str, str]) -> None:
        """Tell other commands that the stack is up."""
        running = Running(pid=os.getpid(), ports=asdict(ports), api_url=api_url, settings=dict(settings))
        _write_private(self._running, running.model_dump_json(indent=1))
        lines = [f"{name}={_quoted(value)}" for name, value in sorted(settings.items())]
        _write_private(self.root / "settings.env", "\n".join(lines) + "\n")

    def retract(self) -> None:
        """Tell other commands that the stack is about to stop."""
        self._running.unlink(missing_ok=True)

    def secrets(self) -> Secrets:
        """Return this folder's secrets, made on first use."""
        if not self._secrets.is_file():
            new = Secrets(
                jwt_secret=secrets.token_hex(32),
                callback_secret=secrets.token_hex(32),
                postgres_password=secrets.token_hex(16),
            )
            _write_private(self._secrets, new.model_dump_json())
        return Secrets.model_validate_json(self._secrets.read_text())

    def begin(self) -> LastShutdown:
        """Return how the last shutdown went. From now on it counts as unclean until `finish`."""
        fresh = not self.emulator.exists() and not self.postgres.exists()
        is_clean = fresh or self._intact.exists()
        boot = BOOT_ID.read_text() if BOOT_ID.exists() else ""
        is_same_boot = bool(boot) and self._boot.is_file() and self._boot.read_text() == boot
        self._intact.unlink(missing_ok=True)
        self._boot.write_text(boot)
        if is_clean:
            return LastShutdown.CLEAN
        has_saved = (self.emulator / SAVED_MARK).exists()
        return LastShutdown.KILLED if is_same_boot and has_saved else LastShutdown.INCOMPLETE

    def finish(self) -> None:
        """Record that emulator and database were both stopped in order, so that their data is consistent."""
        self._intact.touch()

    def wipe_data(self) -> None:
        """Delete the data of the emulator, the database and the transcoder, which belongs together."""
        for folder in (self.emulator, self.postgres, self.mediaconvert):
            if folder.exists():
                shutil.rmtree(folder)


def _quoted(value: str) -> str:
    """Quote a value so that both a shell and parsers of `.env` files read it."""
    return '"' + re.sub(r'([\\"$`])', r"\\\1", value) + '"'


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:  # another user's, so it is alive
        return True
    return True


def _is_locked(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    temporary = path.with_suffix(".new")
    temporary.touch(mode=0o600)
    temporary.write_text(text, encoding="utf-8", errors="surrogateescape")  # it may contain a path, in any bytes
    temporary.replace(path)


def state_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the state folder: `MEDIA_LOCAL_STATE`, else `.local` in the current folder."""
    return Path(environ.get("MEDIA_LOCAL_STATE") or DEFAULT_FOLDER)
