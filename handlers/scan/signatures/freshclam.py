"""Signatures from ClamAV's public mirror, or a private copy of it, and from other addresses, by freshclam.

freshclam's exit status says nothing about what is on the disk. After a 429 it ends with 11; asked again within the
hours for which the mirror wants to be left alone, it ends with 0 and has asked nobody. So what counts is what is there.
It checks the digital signature of each official database. Whole databases are fetched rather than differences: what
freshclam makes of those itself (.cld) carries no signature.

Each other address has a run and an empty folder of its own. freshclam ends at the first address that fails, it would
let any of them replace an official database, and it asks for a newer file than its own by the time of its own download,
so that it misses a file that was written before and uploaded after it.
"""

import asyncio
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import structlog

from handlers.process_tempdir import process_tempdir
from handlers.scan.signatures.bucket import SignatureSourceError
from handlers.scan.signatures.disk import SignatureDisk
from handlers.scan.signatures.signature_set import OFFICIAL, Manifest, describe, is_database

log = structlog.get_logger(__name__)

DEADLINE = 1800.0
"""Seconds for one run, in which 0.3 GB may come over a slow line."""
FIRST_PAUSE = 60.0
"""Seconds after a failure until the mirror is asked again. They double with each failure in a row."""
MAX_PAUSE = 3600.0
"""The public mirror blocks who asks more often than once an hour."""
_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
_OFFICIAL_FILE = re.compile(r"(main|daily|bytecode)(-\d+)?\.(cvd|cvd\.sign)")
_WITHOUT_OFFICIAL = "".join(f"ExcludeDatabase {name}\n" for name in ("main", "daily", "bytecode"))
# Once: the next round is the next attempt.
_CONFIGURATION = """\
DatabaseDirectory {folder}
DatabaseMirror {mirror}
DNSDatabaseInfo {dns}
TestDatabases {tests}
ScriptedUpdates no
MaxAttempts 1
ConnectTimeout 30
ReceiveTimeout 60
"""


def child_environment(*more: str) -> dict[str, str]:
    """Return the environment of freshclam and clamd: no credentials, and none of our settings."""
    return {name: os.environ[name] for name in (*_INHERITED, *more) if name in os.environ}


def bound_command(*command: str) -> list[str]:
    """Return a command that the kernel kills when this process ends, where setpriv is installed."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--", *command] if setpriv else list(command)


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where databases come from: ClamAV's `mirror`, None for a set without its databases, and addresses of others."""

    mirror: str | None
    custom: tuple[str, ...] = ()

    def missing(self, found: Manifest | None) -> list[str]:
        """Name what a set must have and this one has not. `bytecode` may be missing."""
        official = OFFICIAL if self.mirror else ()
        names = {file.name for file in found.files} if found else set()
        versions = found.versions if found else {}
        return [name for name in official if name not in versions] + [
            name for name in map(_file_name, self.custom) if name not in names
        ]

    async def update(self, folder: Path, *, tests: bool) -> str:
        """Bring `folder` up to date, and remove databases that are not wanted. Returns what went wrong, or nothing.

        With `tests` each official database is loaded once before it is kept, which takes 1.4 GB; the others always are.
        Raises SignatureSourceError when freshclam cannot be started, and OSError.
        """
        self._tidy(folder)
        reasons = []
        if self.mirror:
            # Only the public mirror tells its versions by DNS.
            dns = "no" if "://" in self.mirror else "current.cvd.clamav.net"
            reasons.append(await _run(folder, mirror=self.mirror, dns=dns, tests="yes" if tests else "no"))
        for url in self.custom:
            name = _file_name(url)
            with process_tempdir("custom-", folder) as alone:
                more = f"{_WITHOUT_OFFICIAL}DatabaseCustomURL {url}\n"
                # freshclam insists on a mirror, even if it asks it for nothing.
                if reason := await _run(alone, more, mirror="http://127.0.0.1:9", dns="no", tests="yes"):
                    reasons.append(f"{name}: {reason}")
                if (alone / name).is_file():
                    (alone / name).replace(folder / name)
        return "; ".join(filter(None, reasons))

    def _tidy(self, folder: Path) -> None:
        """Leave nothing in the folder but the databases that are configured."""
        folder.mkdir(parents=True, exist_ok=True)
        custom = set(map(_file_name, self.custom))
        for path in folder.iterdir():
            is_official = self.mirror and _OFFICIAL_FILE.fullmatch(path.name)
            if is_database(path) and not is_official and path.name not in custom:
                path.unlink()


def _file_name(url: str) -> str:
    return url.rpartition("/")[2]


async def _run(folder: Path, more: str = "", **options: str) -> str:
    """Run freshclam once in `folder`. Returns what went wrong, or nothing. Raises SignatureSourceError."""
    configuration = folder / "freshclam.conf"
    # As root it otherwise becomes the user clamav.
    owner = "" if os.geteuid() else "DatabaseOwner root\n"
    configuration.write_text(_CONFIGURATION.format(folder=folder, **options) + more + owner)
    command = bound_command("freshclam", f"--config-file={configuration}", "--stdout")
    environment = child_environment("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
        )
    except OSError as error:
        raise SignatureSourceError(f"freshclam cannot be started: {error}") from error
    try:
        async with asyncio.timeout(DEADLINE):
            output = (await process.communicate())[0].decode(errors="replace")
    except TimeoutError:
        return f"freshclam did not end within {DEADLINE:.0f} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    log.info("freshclam.ended", status=process.returncode, lines=lines[-40:])
    wrong = [line for line in lines if line.startswith("ERROR") or "cool-down" in line]
    if process.returncode or wrong:
        return f"freshclam, status {process.returncode}: {' | '.join(wrong) or 'no reason'}"
    return ""


class PublicMirror:
    """The upstream, asked by this scanner itself: where there is no bucket, or nothing in it and on the disk."""

    name = "mirror"

    def __init__(self, folder: Path, upstream: Upstream) -> None:
        self._folder = folder
        self._upstream = upstream
        self._pause = FIRST_PAUSE
        self._not_before = 0.0

    async def look(self) -> Manifest:
        """Bring our own copy up to date, and return what it is. Raises SignatureSourceError."""
        now = asyncio.get_running_loop().time()
        if now < self._not_before:
            raise SignatureSourceError(f"it is asked again in {self._not_before - now:.0f} s")
        self._not_before, self._pause = now + self._pause, min(MAX_PAUSE, self._pause * 2)
        # Without the test load, which takes an engine's memory: clamd keeps its set when it cannot load a new one.
        failed = await self._upstream.update(self._folder, tests=False)
        found = describe(self._folder)
        if (missing := self._upstream.missing(found)) or found is None:
            raise SignatureSourceError(failed or f"freshclam brought no {', '.join(missing)}")
        if failed:
            log.warning("signatures.source_failed", source=self.name, reason=failed, age_days=found.age_days())
        else:
            self._pause = FIRST_PAUSE
        return found

    async def collect(self, manifest: Manifest, disk: SignatureDisk) -> None:
        """Copy the set's files into `disk.incoming`. Raises SignatureSourceError."""
        try:
            for file in manifest.files:
                shutil.copyfile(self._folder / file.name, disk.incoming / file.name)
        except OSError as error:
            raise SignatureSourceError(str(error)) from error
