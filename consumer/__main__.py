"""`python -m consumer`: drain the queues until SIGTERM.

Exit status 0: drained. 1: it could not start, or a part of it died. 2: bad configuration. SIGPROF: its event loop hung.
"""

import asyncio
import os
import signal
import sys

import structlog

from consumer.wiring import build
from handlers.sandbox import ChildStartError
from handlers.sandbox.hardening import set_undumpable
from media.aws.bucket_checks import BucketError
from media.errors import UnavailableError
from media.process import gc_tuning
from media.process.log_writer import LogWriter
from media.process.loop_watchdog import run_watched
from media.schema.apply import SchemaError
from media.schema.startup import check_at_start
from media.settings import Settings, SettingsError, load
from media.telemetry import configure_logging, explain_failure, log_uncaught

log = structlog.get_logger(__name__)


async def run(settings: Settings, lines: LogWriter) -> int:
    """Serve until a signal; return the exit status."""
    try:
        await check_at_start(
            settings.database_url, wait=settings.database_wait, statement_cache=settings.database_statement_cache
        )
    except SchemaError as error:
        explain_failure(error, settings.log_format)
        return 2
    except UnavailableError as error:  # it stays unready until Postgres is back, and resumes within seconds
        log.warning("schema.unchecked", error=error.detail)
    async with build(settings) as (daemon, health):
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, daemon.stop)
        async with health.serve(settings.consumer_host, settings.consumer_port) as port:
            gc_tuning.relax()
            log.info("consumer.started", queues=list(settings.queues), port=port)
            status = 0 if await daemon.run() else 1
    if daemon.aborted:  # a second signal: do not wait even for a thread that a silent scanner holds
        lines.close()
        os._exit(status)
    return status


def check(settings: Settings) -> dict[str, str]:
    """Return the settings that are missing for the consumer alone, each with the reason."""
    converts = settings.transcoder == "mediaconvert" and "transcodes" in settings.queues
    if converts and not settings.mediaconvert_role_arn:
        return {"MEDIACONVERT_ROLE_ARN": "missing; MediaConvert needs it to read and write the bucket"}
    return {}


def main() -> int:
    try:
        settings = load(check=check)
    except SettingsError as error:
        explain_failure(error)
        return 2
    set_undumpable()
    lines = LogWriter(sys.stdout.fileno()).start()
    configure_logging(settings.log_format, settings.log_level, lines)
    log_uncaught()
    try:
        return asyncio.run(run_watched(run(settings, lines)))
    except BucketError as error:
        explain_failure(error, settings.log_format)
        return 2
    except (ChildStartError, OSError, UnavailableError) as error:  # too low a limit, a port taken, no AWS client
        lines.close()  # so that the reason is the last line
        explain_failure(f"the consumer cannot run: {type(error).__name__}: {error}", settings.log_format)
        return 1


if __name__ == "__main__":
    sys.exit(main())
