"""`python -m api`: serve until SIGTERM or SIGINT.

Exit status 2: wrong configuration. 1: it could not start. SIGPROF: its event loop hung.
"""

import asyncio
import logging
import signal
import sys

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from api.app import check, running
from api.server.access_log import ACCESS_LOG, JsonLines
from api.server.connection_limits import Runner, most_connections
from api.server.connection_slots import ConnectionLimits
from api.server.draining import drain
from api.service import SERVICE
from media.aws.bucket_checks import BucketError
from media.errors import UnavailableError
from media.network.listening import listen
from media.process import gc_tuning
from media.process.log_writer import LogWriter
from media.process.loop_watchdog import run_watched
from media.schema.apply import SchemaError
from media.schema.startup import check_at_start
from media.settings import Settings, SettingsError, load
from media.telemetry import configure_logging, explain_failure, log_uncaught, writes_json

log = structlog.get_logger(__name__)

SHUTDOWN_TIMEOUT = 15.0
"""Seconds that requests in progress have to finish. Half of ECS's default `stopTimeout`."""


def main() -> int:
    """Serve, and return the exit status: 0 after a stop by signal."""
    try:
        settings = load(check=check)
    except SettingsError as error:
        explain_failure(error)
        return 2
    lines = LogWriter(sys.stdout.fileno()).start()
    configure_logging(settings.log_format, settings.log_level, lines)
    log_uncaught()
    try:
        asyncio.run(run_watched(serve(settings, lines)))
    except BucketError as error:
        explain_failure(error, settings.log_format)
        return 2
    except (SchemaError, UnavailableError) as error:
        explain_failure(f"the API cannot start: {error}", settings.log_format)
        return 1
    except (OSError, TimeoutError) as error:
        explain_failure(f"the API cannot start: {type(error).__name__}: {error}", settings.log_format)
        return 1
    return 0


class NoRequestText(logging.Filter):
    """Remove the text of malformed requests from aiohttp's error lines. It may contain a token."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, (HttpProcessingError, ValueError)):
            record.msg, record.args = f"not an HTTP request: {type(error).__name__}", None
            record.exc_info = record.exc_text = None
        return True


async def serve(settings: Settings, lines: LogWriter) -> None:
    """Serve until a signal asks to stop. A second signal ends the drain delay at once.

    Raises SchemaError, UnavailableError (Postgres, for longer than a start waits) and OSError (a port in use).
    """
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    await check_at_start(
        settings.database_url, wait=settings.database_wait, statement_cache=settings.database_statement_cache
    )
    server_log = logging.getLogger("api.server")
    server_log.addFilter(NoRequestText())
    async with running(settings) as app:
        if writes_json(settings.log_format) and settings.log_level in {"debug", "info"}:
            app[ACCESS_LOG] = JsonLines(lines).write
        # aiohttp's access log writes whole request lines, tokens included. Ours is in `middlewares`.
        runner = Runner(
            app,
            ConnectionLimits(
                most_connections(settings.api_connections), settings.api_send_timeout, settings.trusted_proxies
            ),
            app[SERVICE].metrics,
            access_log=None,
            logger=server_log,
            shutdown_timeout=SHUTDOWN_TIMEOUT,
            keepalive_timeout=settings.api_keepalive_timeout,
        )
        await runner.setup()
        try:
            for listening in listen(settings.api_host, settings.api_port):
                await web.SockSite(runner, listening).start()
            gc_tuning.relax()
            log.info("api.serving", host=settings.api_host, port=settings.api_port)
            await stop.wait()
            log.info("api.draining", seconds=settings.api_drain_delay)
            await drain(app, settings.api_drain_delay, hurry)
            log.info("api.stopping")
        finally:
            await runner.cleanup()


if __name__ == "__main__":
    sys.exit(main())
