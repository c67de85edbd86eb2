"""The command `python -m deploy.local.mediaconvert --state DIR`: the endpoint, until SIGTERM or SIGINT."""

import argparse
import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path

import structlog
from aiohttp import web

from deploy.local.mediaconvert.api import application
from deploy.local.mediaconvert.config import Config, s3_client
from deploy.local.mediaconvert.delivery import delivery
from deploy.local.mediaconvert.job_store import JobStore
from deploy.local.mediaconvert.runner import Runner
from deploy.local.mediaconvert.transcoder import Transcoder

USAGE_STATUS = 2
SHUTDOWN_TIMEOUT = 5.0
"""Seconds that open requests have at the end."""


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    config = _config(arguments, environment)
    missing = [program for program in (config.ffmpeg, config.ffprobe) if shutil.which(program) is None]
    if missing:
        print(f"mediaconvert: cannot run {' and '.join(missing)}: install it, or name another", file=sys.stderr)
        return USAGE_STATUS
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    config.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        asyncio.run(serve(config))
    except OSError as error:
        if error.errno is None or error.filename:
            raise
        print(f"mediaconvert: cannot listen on {config.host}:{config.port}: {error.strerror}", file=sys.stderr)
        return USAGE_STATUS
    return 0


def _config(arguments: Sequence[str], environment: Mapping[str, str]) -> Config:
    def default(name: str, otherwise: str) -> str:
        return environment.get(name) or otherwise

    parser = argparse.ArgumentParser(prog="python -m deploy.local.mediaconvert", description=__doc__)
    parser.add_argument("--state", type=Path, default=default("MEDIA_LOCAL_MEDIACONVERT_STATE", ".local/mediaconvert"))
    parser.add_argument("--host", default=default("MEDIA_LOCAL_MEDIACONVERT_HOST", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=default("MEDIA_LOCAL_MEDIACONVERT_PORT", "4570"))
    parser.add_argument("--endpoint-url", default=environment.get("AWS_ENDPOINT_URL") or None)
    parser.add_argument("--region", default=default("AWS_REGION", "eu-central-1"))
    parser.add_argument("--account", default=default("MEDIA_LOCAL_ACCOUNT", "000000000000"))
    parser.add_argument("--concurrency", type=int, default=default("MEDIA_LOCAL_MEDIACONVERT_JOBS", "1"))
    parser.add_argument("--ffmpeg", default=default("MEDIA_LOCAL_FFMPEG", "ffmpeg"))
    parser.add_argument("--ffprobe", default=default("MEDIA_LOCAL_FFPROBE", "ffprobe"))
    given = parser.parse_args(arguments)
    return Config(**{**vars(given), "state": given.state.resolve()})


async def serve(config: Config) -> None:
    """Serve until a signal. Raises OSError when the address is taken. A part that dies ends the whole endpoint."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        store = stack.enter_context(closing(JobStore(config.state / "jobs.sqlite")))
        sender = await stack.enter_async_context(delivery(config, store))
        s3 = await stack.enter_async_context(s3_client(config))
        runner = Runner(config, store, sender, Transcoder(config, s3))
        web_runner = web.AppRunner(
            application(config, store, runner), access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT
        )
        stack.push_async_callback(web_runner.cleanup)
        await web_runner.setup()
        await web.TCPSite(web_runner, config.host, config.port).start()
        # Only the holder of the port may touch the jobs and folders of an earlier process.
        runner.recover()
        async with asyncio.TaskGroup() as group:
            background_tasks = [group.create_task(sender.run())]
            background_tasks += [group.create_task(runner.work()) for _ in range(config.concurrency)]
            await stop.wait()
            for task in background_tasks:
                task.cancel()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
