"""The folder in which the stack keeps everything, and who may use it. It can be deleted while no stack runs."""

import contextlib
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from deploy.local.ports import Ports

DEFAULT_FOLDER = ".local"


class StateInUseError(Exception):
    """Another stack runs on this state folder."""


class Secrets(BaseModel):
    """What is made once per state folder. None of it protects anything but a laptop's loopback."""

    model_config = ConfigDict(frozen=True)

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

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Own the folder until the end of the block. Raises StateInUseError.

        The kernel drops the lock when its process dies, so a number in a file is never taken for a living stack.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        with self._lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StateInUseError(f"a stack already runs on {self.root}") from error
            try:
                yield
            finally:
                self._running.unlink(missing_ok=True)

    def running(self) -> Running | None:
        """The stack that holds this folder now, if it is up."""
        if not self.is_held() or not self._running.is_file():
            return None
        return Running.model_validate_json(self._running.read_text())

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Keep whoever started the stack from stopping it until the end of the block."""
        with self._users.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            yield

    def is_used(self) -> bool:
        """Whether another command is inside `used` now."""
        return _is_locked(self._users)

    def is_held(self) -> bool:
        """Whether a stack runs on this folder, or starts, or stops."""
        return _is_locked(self._lock)

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

    def begin(self) -> bool:
        """Whether the last stop was clean, or there is nothing yet. From here on it is unclean until `finish`."""
        fresh = not self.emulator.exists() and not self.postgres.exists()
        intact = self._intact.exists()
        self._intact.unlink(missing_ok=True)
        return fresh or intact

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
    temporary.write_text(text)
    temporary.replace(path)


def state_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the state is kept: `MEDIA_LOCAL_STATE`, else `.local` in the current folder."""
    return Path(environ.get("MEDIA_LOCAL_STATE") or DEFAULT_FOLDER)
