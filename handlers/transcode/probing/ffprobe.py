"""Runs ffprobe on one source, walled in: allow-lists, limits, no credentials, an empty working directory."""

import json
import signal
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handlers.sandbox import (
    ChildOutputError,
    ChildStartError,
    ChildTimeoutError,
    CompletedChild,
    FileView,
    run_limited,
)
from handlers.scratch import scratch_folder
from handlers.transcode.probing import ffprobe_errors
from handlers.transcode.probing.allowed_formats import CODEC_WHITELIST, FORMAT_WHITELIST
from media.errors import Code, RejectedError, RetryableError
from media.network.proxies import proxy_for

MEMORY = 2 * 1024**3
"""Bytes of address space: an 8K picture in 16 bits is 200 MB, and decoders hold some of them."""
MAX_PIXELS = 8192 * 8192
"""Per picture; above it a decoder is not even opened."""
STDOUT_LIMIT = 64 * 1024 * 1024
"""Bytes. A time stamp for each of 1.7 million frames (8 h at 60 fps) is 25 MB."""
SILENCE = 15
"""Seconds without a byte from the storage before ffprobe gives up."""

CPU_SHARE = 0.5
"""Of the deadline. Reading is cheap: who computes that long has met a bomb, who merely waits, a slow storage."""


@dataclass(frozen=True, slots=True)
class ProbeReading:
    """What one ffprobe said: its JSON (empty when it said none), its complaints, and whether it ended well."""

    document: dict[str, Any]
    complaint: str
    ok: bool


@dataclass(frozen=True, slots=True)
class Ffprobe:
    """The program, its deadline for one run in seconds, and below which folder it runs (None: the platform's).

    `beside` names further decoders that tracks may have which nobody looks into: they are opened, not used.
    """

    program: str
    timeout: float
    memory: int = MEMORY
    scratch: Path | None = None
    beside: frozenset[str] = frozenset()

    async def read(self, url: str, *options: str) -> ProbeReading:
        """The JSON answer to `options`. Raises as `run` does."""
        child = await self.run(url, ("-of", "json=compact=1", *options))
        try:
            document = json.loads(child.stdout or b"{}")
        except ValueError:
            # The program died in the middle of a line; the exit status says so too.
            return ProbeReading({}, _text(child), ok=False)
        return ProbeReading(document, _text(child), ok=child.returncode == 0)

    async def run(self, url: str, options: Sequence[str], *, timeout_factor: float = 1) -> CompletedChild:
        """Runs ffprobe with `options` on `url`, http(s) or an absolute path.

        Raises RejectedError `resource_limit` or `corrupt` when the file made it hit a limit or crash, RetryableError
        when it could not start or waited for too long; ValueError for an address of another kind.
        """
        timeout = self.timeout * timeout_factor
        cpu_seconds = max(1, round(timeout * CPU_SHARE))
        arguments = [self.program, "-hide_banner", "-v", "error", *_walls(url), *self._opened(), *options]
        try:
            async with scratch_folder("probe-", self.scratch) as folder:
                child = await run_limited(
                    [*arguments, "-i", _source(url, folder)],
                    timeout=timeout,
                    memory=self.memory,
                    cpu_seconds=cpu_seconds,
                    file_bytes=0,
                    cwd=folder,
                    env=_proxy(url),
                    network=_remote(url),
                    stdout_limit=STDOUT_LIMIT,
                    view=FileView(reads=_beside(url), writes=(folder,)),
                )
        except ChildStartError as error:
            raise RetryableError(Code.WORKER_CRASHED, f"ffprobe did not start: {error}") from error
        except ChildTimeoutError as error:
            raise RetryableError(Code.RESOURCE_LIMIT, "reading the file took too long") from error
        except ChildOutputError as error:
            raise RejectedError(Code.RESOURCE_LIMIT, "the file describes more than can be listed") from error
        _check_end(child)
        return child

    def _opened(self) -> list[str]:
        """For one kind of track, the list holds for ffprobe's own decoders alone: what finds out what a file is, and
        decodes for it, keeps to the strict one.
        """
        names = ",".join([CODEC_WHITELIST, *sorted(self.beside)])
        return [word for kind in "vas" for word in (f"-codec_whitelist:{kind}", names)] if self.beside else []


def _walls(url: str) -> list[str]:
    """Options that keep ffprobe on this one source. Exit status and formats alone prove nothing: a playlist named
    .mp4 is a valid input, and would open what it lists.
    """
    options = ["-format_whitelist", FORMAT_WHITELIST, "-codec_whitelist", CODEC_WHITELIST]
    options += ["-max_pixels", str(MAX_PIXELS)]
    if not _remote(url):
        return [*options, "-protocol_whitelist", "file"]
    options += ["-rw_timeout", str(SILENCE * 1_000_000)]
    if url.startswith("http://"):
        return [*options, "-protocol_whitelist", "http,tcp"]
    authorities = ssl.get_default_verify_paths().cafile
    trust = ["-tls_verify", "1", "-ca_file", authorities] if authorities else []
    return [*options, "-protocol_whitelist", "https,tls,tcp,httpproxy", *trust]


def _proxy(url: str) -> dict[str, str]:
    """What tells ffprobe of its proxy: one variable for http and https."""
    proxy = proxy_for(url) if _remote(url) else None
    return {"http_proxy": proxy} if proxy else {}


def _source(url: str, folder: Path) -> str:
    """What to open. A local file gets a name without a suffix, so that its content alone decides what it is; behind a
    signed address's query the suffix counts for nothing either.
    """
    if _remote(url):
        return url
    (folder / "source").symlink_to(url)
    return "file:source"


def _beside(url: str) -> tuple[Path, ...]:
    """What it reads outside its folder: the file itself, or whom to trust."""
    authorities = ssl.get_default_verify_paths().cafile
    if not _remote(url):
        return (Path(url),)
    return (Path(authorities),) if authorities else ()


def _remote(url: str) -> bool:
    if url.startswith(("http://", "https://")):
        return True
    if url.startswith("/"):
        return False
    raise ValueError("a source is an http(s) address or an absolute path")


def _check_end(child: CompletedChild) -> None:
    """Raises RejectedError when ffprobe met a limit of CPU or memory, or crashed in a parser; RetryableError when
    somebody else killed it, the kernel for want of memory, say.
    """
    if child.signal == signal.SIGXCPU:
        raise RejectedError(Code.RESOURCE_LIMIT, "reading the file needs more time than allowed")
    if child.signal in {signal.SIGKILL, signal.SIGTERM}:
        raise RetryableError(Code.WORKER_CRASHED, "ffprobe was killed")
    if ffprobe_errors.out_of_memory(_text(child)):
        raise RejectedError(Code.RESOURCE_LIMIT, "reading the file needs more memory than allowed")
    if child.signal:
        raise RejectedError(Code.CORRUPT, f"the file made its reader crash (signal {child.signal})")


def _text(child: CompletedChild) -> str:
    return child.stderr.decode(errors="replace")
