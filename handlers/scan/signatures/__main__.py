"""The scanner's container: `python -m handlers.scan.signatures serve CLAMD ARGUMENTS…`, and `… mirror`.

`serve` keeps that clamd running with the newest signatures until SIGTERM. `mirror` publishes ClamAV's signatures into
the bucket, once. Exit status 0: done. 1: nothing was published, and the log says why. 2: wrong usage or configuration.
"""

import asyncio
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import structlog

from handlers.process_tempdir import process_tempdir
from handlers.sandbox.hardening import set_undumpable
from handlers.scan.clamd.instream import Address
from handlers.scan.signatures.bucket import SignatureBucket
from handlers.scan.signatures.clamd_process import ClamdProcess
from handlers.scan.signatures.disk import SignatureDisk
from handlers.scan.signatures.freshclam import PublicMirror
from handlers.scan.signatures.keeper import Placeholder, SignatureKeeper, SignatureSource
from handlers.scan.signatures.mirror import mirror
from handlers.scan.signatures.settings import ScannerSettings, load_scanner_settings
from media.aws.clients import open_s3
from media.aws.s3 import ObjectStorage
from media.errors import UnavailableError
from media.settings import SettingsError
from media.telemetry import configure_logging, explain_failure, log_uncaught

log = structlog.get_logger(__name__)
USAGE = "usage: python -m handlers.scan.signatures serve CLAMD [ARGUMENT…] | mirror\n"
PUBLIC_INTERVAL = 6 * 3600.0
"""Seconds between two looks at the public mirror, which wants to be asked rarely."""


async def keep(settings: ScannerSettings, command: Sequence[str]) -> None:
    """Keep the clamd that `command` starts running until canceled."""
    folder = settings.signatures_folder
    async with AsyncExitStack() as stack:
        sources: list[SignatureSource] = []
        if settings.output_bucket:
            storage = ObjectStorage(await open_s3(settings, stack))
            sources.append(SignatureBucket(storage, settings.output_bucket, settings.signatures_prefix))
        sources.append(PublicMirror(folder / "mirror", settings.upstream))
        address = Address.parse(settings.clamd)
        keeper = SignatureKeeper(
            SignatureDisk(folder),
            sources,
            ClamdProcess(command, address),
            Placeholder(address, folder / "waiting"),
            interval=settings.signatures_interval if settings.output_bucket else PUBLIC_INTERVAL,
        )
        await keeper.run()


async def serve(settings: ScannerSettings, command: Sequence[str]) -> int:
    """Keep clamd running until SIGTERM or SIGINT."""
    keeping = asyncio.create_task(keep(settings, command), name="keep signatures")
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, keeping.cancel)
    with suppress(asyncio.CancelledError):
        await keeping
    return 0


async def publish(settings: ScannerSettings) -> int:
    """Mirror once; return the exit status."""
    if not settings.output_bucket:
        explain_failure("settings are missing or wrong:\n  OUTPUT_BUCKET: missing", settings.log_format)
        return 2
    async with AsyncExitStack() as stack:
        storage = ObjectStorage(await open_s3(settings, stack))
        bucket = SignatureBucket(storage, settings.output_bucket, settings.signatures_prefix)
        # Beside the scanner's own sets: a task of its own has an empty volume there.
        folder = stack.enter_context(process_tempdir("media-mirror-", Path(settings.signatures_folder)))
        reason = await mirror(bucket, folder, settings.upstream)
    if reason:
        log.error("signatures.mirror_failed", reason=reason)
    return 1 if reason else 0


def main(arguments: list[str]) -> int:
    is_serving = len(arguments) > 1 and arguments[0] == "serve"
    if not is_serving and arguments != ["mirror"]:
        sys.stderr.write(USAGE)
        return 2
    try:
        settings = load_scanner_settings()
    except SettingsError as error:
        explain_failure(error)
        return 2
    configure_logging(settings.log_format, settings.log_level)
    log_uncaught()
    set_undumpable()  # the address of the task's credentials is in our environment, and clamd reads hostile files
    try:
        return asyncio.run(serve(settings, arguments[1:]) if is_serving else publish(settings))
    except (OSError, UnavailableError) as error:  # a folder that cannot be written, no AWS client
        explain_failure(f"the signatures cannot be kept: {type(error).__name__}: {error}", settings.log_format)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
