"""`./run.sh bench api [--json]`: our API beside bare aiohttp handlers with one asyncpg query, on the same Postgres.

Every endpoint is loaded by 64 connections. Rounds are interleaved, so that a busy machine is busy for all; figures are
medians. GETs are compared with the bare SELECT, POST /upload with the bare INSERT.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import jwt

from deploy.local import postgres as postgres_part
from deploy.local.ports import free_port
from media.asset import AssetType, DeliveryClass, Rendition
from media.asset_store.assets import AssetStore, NewAsset
from media.asset_store.database import connect
from media.schema import apply as schema
from media.settings import QUEUES
from tests.bench import api_streams
from tests.bench.api_load import Load, get, load, post
from tests.bench.api_streams import Streams

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 3
SECONDS = 3.0
WARM_UP = 1.0
SECRET = "a secret of the benchmark that has 32 bytes"
USERS = 100
WIDTHS = (150, 320, 640, 1024, 1920)
MEDIA = "/api/v1/media"
UPLOAD = b'{"asset_type":"image","content_type":"image/jpeg","original_filename":"photo.jpg","size":123456}'
COMPARED = {"GET /assets/{id}": "bare select", "GET …/url": "bare select", "POST /upload": "bare insert"}


@dataclass(frozen=True, slots=True)
class Target:
    """A request for the load: the server's URL and process id, the request's bytes, and the expected status."""

    url: str
    pid: int
    request: bytes
    status: int


def token(user: str) -> str:
    return jwt.encode({"sub": user, "exp": int(time.time()) + 3600}, SECRET, "HS256")


@asynccontextmanager
async def serving(arguments: list[str], environment: dict[str, str], word: bytes) -> AsyncIterator[Process]:
    """Run a server, and yield once its output contains `word`. Later output is read and discarded."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, env=dict(os.environ) | environment, cwd=ROOT, stdout=PIPE
    )
    assert process.stdout
    try:
        async with asyncio.timeout(30):
            await _until(process.stdout, word)
        drain = asyncio.create_task(_drain(process.stdout))
        yield process
        drain.cancel()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _until(output: asyncio.StreamReader, word: bytes) -> None:
    async for line in output:
        if word in line:
            return
    raise RuntimeError("a server ended before it served")


async def _drain(output: asyncio.StreamReader) -> None:
    while await output.read(1 << 16):
        pass


def environment_of(dsn: str, port: int) -> dict[str, str]:
    queues = {f"MEDIA_{name.upper().replace('-', '_')}_QUEUE_URL": f"http://127.0.0.1:9/1/{name}" for name in QUEUES}
    return queues | {
        "MEDIA_DATABASE_URL": dsn,
        "MEDIA_API_PORT": str(port),
        "MEDIA_API_HOST": "127.0.0.1",
        "MEDIA_JWT_SECRET": SECRET,
        "MEDIA_RATE_LIMIT_READS": "100000000",
        "MEDIA_RATE_LIMIT_WRITES": "100000000",
        "MEDIA_RATE_LIMIT_URLS": "100000000",
        "MEDIA_LOG_FORMAT": "json",
        "OUTPUT_BUCKET": "bench",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",  # nobody: no request of the benchmark needs S3
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
    }


async def fill(dsn: str) -> UUID:
    """Create a ready picture with renditions for each user. Return the first one's id."""
    ids = [uuid4() for _ in range(USERS)]
    async with connect(dsn) as database:
        store = AssetStore(database)
        for number, asset_id in enumerate(ids):
            key = f"uploads/image/user-{number}/{asset_id}/photo.jpg"
            await store.create(
                NewAsset(
                    asset_id,
                    f"user-{number}",
                    AssetType.IMAGE,
                    DeliveryClass.VERIFICATION_DOCUMENT,
                    "image/jpeg",
                    "photo.jpg",
                    "bench",
                    key,
                    123_456,
                )
            )
            for width in WIDTHS:
                r = Rendition(f"w{width}", f"{key[:-9]}image-1/w{width}.webp", "image/webp", width * 90, width, width)
                await database.execute(
                    "INSERT INTO renditions (asset_id, name, key, content_type, bytes, width, height, attempt)"
                    " VALUES ($1, $2, $3, $4, $5, $6, $7, 1)",
                    asset_id,
                    r.name,
                    r.key,
                    r.content_type,
                    r.bytes,
                    r.width,
                    r.height,
                )
        await database.execute("UPDATE assets SET status = 'ready', version_id = 'v1', size = 123456, progress = 1")
    return ids[0]


def targets(bare: tuple[str, int], ours: tuple[str, int], asset_id: UUID) -> dict[str, Target]:
    bearer = token("user-0")
    return {
        "bare select": Target(*bare, get(f"/bare/{asset_id}"), 200),
        "bare insert": Target(*bare, post("/bare", UPLOAD), 201),
        "GET /assets/{id}": Target(*ours, get(f"{MEDIA}/assets/{asset_id}", bearer), 200),
        "GET …/url": Target(*ours, get(f"{MEDIA}/assets/{asset_id}/url", bearer), 200),
        "POST /upload": Target(*ours, post(f"{MEDIA}/upload", UPLOAD, bearer), 201),
    }


async def compare(all_targets: dict[str, Target], rounds: int, seconds: float) -> dict[str, Load]:
    found: dict[str, list[Load]] = {name: [] for name in all_targets}
    for turn in range(rounds + 1):
        for name, target in all_targets.items():
            one = await load(
                target.url, target.request, status=target.status, seconds=seconds if turn else WARM_UP, pid=target.pid
            )
            if turn:
                found[name].append(one)
    return {name: _median(loads) for name, loads in found.items()}


def _median(loads: list[Load]) -> Load:
    return Load(
        *(
            statistics.median(getattr(one, name) for one in loads)
            for name in ("per_second", "p50_ms", "p99_ms", "cpu_ms")
        )
    )


@asynccontextmanager
async def filled_database() -> AsyncIterator[tuple[str, UUID]]:
    """Run Postgres with a ready picture of each user. Yield its address and the first one's id."""
    with tempfile.TemporaryDirectory(prefix="bench-api-", ignore_cleanup_errors=True) as name:
        server = await postgres_part.start(Path(name) / "postgres", free_port(), Path(name), uuid4().hex)
        try:
            await postgres_part.create_database(server, "bench")
            dsn = server.dsn("bench")
            await schema.apply(dsn)
            yield dsn, await fill(dsn)
        finally:
            await server.child.stop()


async def run(rounds: int, seconds: float) -> tuple[dict[str, Load], Streams]:
    async with AsyncExitStack() as stack:
        dsn, asset_id = await stack.enter_async_context(filled_database())
        ports = free_port(), free_port()
        bare = ["tests.bench.api_bare", str(ports[0])]
        plain = await stack.enter_async_context(serving(bare, {"MEDIA_DATABASE_URL": dsn}, b"serving"))
        api = await stack.enter_async_context(serving(["api"], environment_of(dsn, ports[1]), b"api.serving"))
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        loads = await compare(targets((urls[0], plain.pid), (urls[1], api.pid), asset_id), rounds, seconds)
        await _delete_pending(dsn)
        tokens = [token(f"user-{number}") for number in range(USERS)]
        return loads, await api_streams.measure(urls[1], api.pid, tokens, dsn)


async def _delete_pending(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("DELETE FROM assets WHERE status = 'pending'")
    await connection.close()


def ratios(loads: dict[str, Load]) -> dict[str, float]:
    """Divide each endpoint's requests per second by those of its bare handler."""
    return {name: loads[name].per_second / loads[bare].per_second for name, bare in COMPARED.items()}


def table(loads: dict[str, Load], streams: Streams) -> str:
    found = ratios(loads)
    lines = [f"{'':<18} {'requests/s':>10} {'p50 ms':>8} {'p99 ms':>8} {'CPU ms':>8}  share of its bare handler"]
    for name, one in loads.items():
        part = f"  {found[name]:.2f} of {COMPARED[name]}" if name in found else ""
        lines.append(
            f"{name:<18} {one.per_second:>10.0f} {one.p50_ms:>8.1f} {one.p99_ms:>8.1f} {one.cpu_ms:>8.2f}{part}"
        )
    lines.append(
        f"{streams.open} event streams: opened in {streams.opened_seconds:.1f} s, {streams.kib_each:.1f} KiB each,"
        f" all notified of a change in {streams.notified_seconds:.2f} s"
    )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.sh bench api", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of one round of one endpoint")
    options = parser.parse_args()
    loads, streams = asyncio.run(run(options.rounds, options.seconds))
    by_name = {name: asdict(one) for name, one in loads.items()}
    report = {"loads": by_name, "ratios": ratios(loads), "streams": asdict(streams)}
    sys.stdout.write((json.dumps(report) if options.json else table(loads, streams)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
