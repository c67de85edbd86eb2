"""Runs ffprobe on one source, confined by allow-lists, limits, no credentials and an empty working directory."""

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
"""Bytes of address space. An 8K picture in 16 bits takes 200 MB, and decoders hold several."""
MAX_PIXELS = 8192 * 8192
"""Pixels of one picture. For larger ones no decoder is opened."""
STDOUT_LIMIT = 128 * 1024 * 1024
"""Bytes. A line for each of three million packets (8 h at 60 fps, with sound) takes 80 MB."""
PATIENCE_SECONDS, PATIENCE_BYTES = 60, 100_000_000
"""Seconds and bytes of a source that are read at most to find all its tracks."""
SILENCE = 15
"""Seconds without a byte from the storage before ffprobe gives up."""
CPU_SHARE = 0.5
"""CPU time as a share of the timeout. Reading is cheap: more CPU time means a decompression bomb, waiting means slow
storage."""


@dataclass(frozen=True, slots=True)
class ProbeReading:
    """The result of one ffprobe: its JSON (empty when there is none), its stderr, and whether its exit status was 0."""

    document: dict[str, Any]
    stderr: str
    ok: bool


@dataclass(frozen=True, slots=True)
class Ffprobe:
    """The program. `timeout` is seconds for one run; working directories lie below `scratch` (None: the platform's).

    `extra_codecs` names further decoders of tracks that are not used. ffprobe may open them, and does not decode them.
    """

    program: str
    timeout: float
    memory: int = MEMORY
    scratch: Path | None = None
    extra_codecs: frozenset[str] = frozenset()
    patient: bool = False
    """Whether it reads on until it knows all tracks. In a transport stream a picture may begin late."""

    async def read(self, url: str, *options: str, timeout_factor: float = 1) -> ProbeReading:
        """Return the JSON answer to `options`. Raises as `run` does."""
        child = await self.run(url, ("-of", "json=compact=1", *options), timeout_factor=timeout_factor)
        try:
            document = json.loads(child.stdout or b"{}")
        except ValueError:
            # ffprobe died in the middle of a line. The exit status says so too.
            return ProbeReading({}, _stderr(child), ok=False)
        return ProbeReading(document, _stderr(child), ok=child.returncode == 0)

    async def run(
        self, url: str, options: Sequence[str], *, timeout_factor: float = 1, output: Sequence[str] = ()
    ) -> CompletedChild:
        """Run ffprobe with `options` on `url`, which is http(s) or an absolute path.

        `output` follows the source, where the program is an ffmpeg.

        Raises RejectedError `resource_limit` or `corrupt` when the file made it reach a limit or crash, RetryableError
        when it could not start or waited too long, and ValueError for another kind of address.
        """
        remote = _is_remote(url)
        authorities = ssl.get_default_verify_paths().cafile
        trusted = (Path(authorities),) if authorities else ()
        timeout = self.timeout * timeout_factor
        cpu_seconds = max(1, round(timeout * CPU_SHARE))
        arguments = [self.program, "-hide_banner", "-v", "error", *self._source_options(url), *options]
        # One variable names ffprobe's proxy for both http and https.
        proxy = proxy_for(url) if remote else None
        try:
            async with scratch_folder("probe-", self.scratch) as folder:
                if not remote:
                    # A name without a suffix: the content alone decides what the file is. A signed address needs no
                    # such care, since its suffix stands before the query.
                    (folder / "source").symlink_to(url)
                child = await run_limited(
                    [*arguments, "-i", url if remote else "file:source", *output],
                    timeout=timeout,
                    memory=self.memory,
                    cpu_seconds=cpu_seconds,
                    file_bytes=0,
                    cwd=folder,
                    env={"http_proxy": proxy} if proxy else {},
                    network=remote,
                    stdout_limit=STDOUT_LIMIT,
                    view=FileView(reads=trusted if remote else (Path(url),), writes=(folder,)),
                )
        except ChildStartError as error:
            raise RetryableError(Code.WORKER_CRASHED, f"ffprobe did not start: {error}") from error
        except ChildTimeoutError as error:
            raise RetryableError(Code.RESOURCE_LIMIT, "reading the file took too long") from error
        except ChildOutputError as error:
            raise RejectedError(Code.RESOURCE_LIMIT, "the file describes more than can be listed") from error
        _check_end(child)
        return child

    def _source_options(self, url: str) -> list[str]:
        """Return the options that confine ffprobe to this one source.

        Its exit status and the formats alone prove nothing: a playlist named .mp4 is a valid input, and would open
        the files that it lists.
        """
        options = ["-format_whitelist", FORMAT_WHITELIST, "-codec_whitelist", CODEC_WHITELIST]
        options += ["-max_pixels", str(MAX_PIXELS)]
        if self.patient:
            options += ["-analyzeduration", str(PATIENCE_SECONDS * 1_000_000), "-probesize", str(PATIENCE_BYTES)]
        if not _is_remote(url):
            options += ["-protocol_whitelist", "file"]
        else:
            options += ["-rw_timeout", str(SILENCE * 1_000_000)]
            options += ["-protocol_whitelist", "http,tcp" if url.startswith("http://") else "https,tls,tcp,httpproxy"]
            authorities = ssl.get_default_verify_paths().cafile
            if url.startswith("https://") and authorities:
                options += ["-tls_verify", "1", "-ca_file", authorities]
        if self.extra_codecs:
            # A list for one kind of track applies to ffprobe's own decoders only. The code that recognizes the file,
            # and decodes for that, keeps to the strict list.
            names = ",".join([CODEC_WHITELIST, *sorted(self.extra_codecs)])
            options += [word for kind in "vas" for word in (f"-codec_whitelist:{kind}", names)]
        return options


def _is_remote(url: str) -> bool:
    if url.startswith(("http://", "https://")):
        return True
    if url.startswith("/"):
        return False
    raise ValueError("a source is an http(s) address or an absolute path")


def _check_end(child: CompletedChild) -> None:
    """Raise RejectedError when ffprobe reached a limit of CPU or memory or crashed; RetryableError when it was killed.

    The kernel kills it when the machine runs out of memory.
    """
    if child.signal == signal.SIGXCPU:
        raise RejectedError(Code.RESOURCE_LIMIT, "reading the file needs more time than allowed")
    if child.signal in {signal.SIGKILL, signal.SIGTERM}:
        raise RetryableError(Code.WORKER_CRASHED, "ffprobe was killed")
    if ffprobe_errors.is_out_of_memory(_stderr(child)):
        raise RejectedError(Code.RESOURCE_LIMIT, "reading the file needs more memory than allowed")
    if child.signal:
        raise RejectedError(Code.CORRUPT, f"the file made its reader crash (signal {child.signal})")


def _stderr(child: CompletedChild) -> str:
    return child.stderr.decode(errors="replace")
