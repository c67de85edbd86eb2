"""The folder in which the stack keeps everything, and who may use it. It can be deleted while no stack runs."""

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
LEGACY_NAMES = {
    *("clamav", "emulator", "logs", "mediaconvert", "postgres", "tmp"),
    *("intact", "lock", "running.json", "running.new", "secrets.json", "secrets.new"),
    *("settings.env", "settings.new", "users"),
}
"""Everything that versions without a marker put into the folder."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class StateInUseError(Exception):
    """Another stack runs on this state folder."""


class ForeignFolderError(Exception):
    """The folder holds somebody's files; the message names it and says what to do."""


class LastStop(StrEnum):
    """How the last stack on this folder ended, and so what can be done with its data."""

    CLEAN = "clean"
    """Emulator and database were stopped in order, or there is no data yet."""
    KILLED = "killed"
    """They were killed, but what both had written is there: the services cope with work that is done twice."""
    DOUBTFUL = "doubtful"
    """The machine ended too and nothing was flushed to its disk, or the emulator had not saved anything yet."""


class Secrets(BaseModel):
    """What is made once per state folder. None of it protects anything but a laptop's loopback."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    jwt_secret: str
    callback_secret: str
    postgres_password: str


class Running(BaseModel):
    """What a running stack tells other commands about itself."""

    model_config = ConfigDict(frozen=True)

    pid: int
    ports: dict[str, int]
    api_url: str
    settings: dict[str, str]


class State:
    """The paths inside the folder, and the few files that are shared between commands."""

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
        """Mark the folder as ours; it is made where it is missing. Raises ForeignFolderError, having changed nothing.

        Only what was empty, or has our marker already, is ever written to: data below it is deleted without asking.
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
        """Whether a version without a marker made the folder: no other name is in it, and the secrets are ours."""
        if not LEGACY_NAMES.issuperset(self._names()) or not self._secrets.is_file():
            return False
        try:
            Secrets.model_validate_json(self._secrets.read_bytes())
        except ValidationError:
            return False
        return True

    @contextlib.contextmanager
    def held(self) -> Iterator[int]:
        """Own the folder until the end of the block; gives the lock's descriptor, for parts that may outlive us.

        The kernel drops the lock when all who have the descriptor are dead, so a number in a file is never taken for
        a living stack. Raises StateInUseError and ForeignFolderError.
        """
        self.claim()
        self.logs.mkdir(exist_ok=True)
        with self._lock.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StateInUseError(f"a stack already runs on {self.root}") from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            try:
                yield file.fileno()
            finally:
                self._running.unlink(missing_ok=True)

    def is_orphaned(self) -> bool:
        """Whether the stack itself was killed, and some of its parts still hold the folder."""
        return self.is_held() and not _is_alive(self._lock.read_text())

    def running(self) -> Running | None:
        """The stack that holds this folder now, if it is up."""
        if not self.is_held() or self.is_orphaned() or not self._running.is_file():
            return None
        return Running.model_validate_json(self._running.read_text())

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Keep whoever started the stack from stopping it until the end of the block. Raises ForeignFolderError."""
        self.claim()
        with self._users.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            yield

    def is_used(self) -> bool:
        """Whether another command is inside `used` now."""
        return _is_locked(self._users)

    def is_held(self) -> bool:
        """Whether a stack runs on this folder, or starts, or stops."""
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
        """This folder's secrets, made on first use."""
        if not self._secrets.is_file():
            made = Secrets(
                jwt_secret=secrets.token_hex(32),
                callback_secret=secrets.token_hex(32),
                postgres_password=secrets.token_hex(16),
            )
            _write_private(self._secrets, made.model_dump_json())
        return Secrets.model_validate_json(self._secrets.read_text())

    def begin(self) -> LastStop:
        """Tell how the last stop was. From here on it is not a clean one until `finish`."""
        fresh = not self.emulator.exists() and not self.postgres.exists()
        is_clean = fresh or self._intact.exists()
        boot = BOOT_ID.read_text() if BOOT_ID.exists() else ""
        is_same_boot = bool(boot) and self._boot.is_file() and self._boot.read_text() == boot
        self._intact.unlink(missing_ok=True)
        self._boot.write_text(boot)
        if is_clean:
            return LastStop.CLEAN
        has_saved = (self.emulator / SAVED_MARK).exists()
        return LastStop.KILLED if is_same_boot and has_saved else LastStop.DOUBTFUL

    def finish(self) -> None:
        """Note that the emulator and the database were both stopped in order, so that they match."""
        self._intact.touch()

    def wipe_data(self) -> None:
        """Forget what the emulator, the database and the transcoder hold: it only makes sense together."""
        for folder in (self.emulator, self.postgres, self.mediaconvert):
            if folder.exists():
                shutil.rmtree(folder)


def _quoted(value: str) -> str:
    """For a shell and for those who read `.env` files alike."""
    return '"' + re.sub(r'([\\"$`])', r"\\\1", value) + '"'


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:  # somebody else's, so it lives
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
    """Write a file that only its owner reads, whole or not at all."""
    temporary = path.with_suffix(".new")
    temporary.touch(mode=0o600)
    temporary.write_text(text, encoding="utf-8", errors="surrogateescape")  # a path may be in it, in any bytes
    temporary.replace(path)


def state_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the state is kept: `MEDIA_LOCAL_STATE`, else `.local` in the current folder."""
    return Path(environ.get("MEDIA_LOCAL_STATE") or DEFAULT_FOLDER)
