"""`./run.sh bench urls [--json]`: a hundred URLs in one call, beside a hundred calls, by S3 and by CloudFront, cold."""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

import aiohttp
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from deploy.local import postgres as postgres_part
from deploy.local.ports import free_port
from media.asset_store.database import connect
from media.schema import apply as schema
from tests.bench.api import MEDIA, SECRET, environment_of, serving
from tests.bench.api_load import cpu_seconds

PICTURES = 2_000
MANY = 100
CLIENTS = 16
_FILL = """
WITH made AS (
    INSERT INTO assets (asset_id, owner_id, asset_type, status, delivery, content_type, original_filename, bucket, key)
    SELECT gen_random_uuid(), 'user', 'document', 'ready', 'course_pdf', 'application/pdf', 'a.pdf', 'bench', 'uploads/'
    FROM generate_series(1, $1) RETURNING asset_id),
files AS (
    INSERT INTO renditions (asset_id, name, key, content_type, bytes, width, height, attempt)
    SELECT asset_id, 'w' || width, 'processed/document/user/' || asset_id || '/image-1/w' || width || '.webp',
           'image/webp', width * 90, width, width, 1
    FROM made, unnest(ARRAY[150, 320, 640, 1024, 1920]) AS width)
SELECT asset_id FROM made
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """Calls for MANY URLs and for a single one: milliseconds, the API's CPU for one, and URLs per second by CLIENTS."""

    many_p50_ms: float
    many_cpu_ms: float
    single_p50_ms: float
    single_cpu_ms: float
    many_urls_per_second: float
    single_urls_per_second: float

    @property
    def gain(self) -> float:
        return self.many_urls_per_second / self.single_urls_per_second


class Caller:
    """Asks one API as a service, whose requests are not limited."""

    def __init__(self, session: aiohttp.ClientSession, url: str, pid: int) -> None:
        self.pid = pid
        self._session = session
        self._url = f"{url}{MEDIA}/assets"
        token = jwt.encode({"sub": "ms-6", "role": "service", "exp": int(time.time()) + 3600}, SECRET, "HS256")
        self._headers = {"Authorization": f"Bearer {token}"}

    async def many(self, ids: Sequence[str]) -> float:
        """Ask for all URLs in one call. Return its milliseconds."""
        begun = time.perf_counter()
        body = {"items": [{"asset_id": asset_id, "rendition": "w640"} for asset_id in ids]}
        async with self._session.post(f"{self._url}/urls", json=body, headers=self._headers) as answer:
            items = (await answer.json())["items"]
        assert len(items) == len(ids)
        assert all("url" in item for item in items)
        return (time.perf_counter() - begun) * 1000

    async def single(self, asset_id: str) -> float:
        """Ask for one URL. Return the call's milliseconds."""
        begun = time.perf_counter()
        async with self._session.get(f"{self._url}/{asset_id}/url?rendition=w640", headers=self._headers) as answer:
            assert "url" in await answer.json()
        return (time.perf_counter() - begun) * 1000


@asynccontextmanager
async def calling(dsn: str, environment: dict[str, str]) -> AsyncIterator[Caller]:
    """Run an API of its own, which knows no signature yet."""
    port = free_port()
    async with (
        serving(["api"], environment_of(dsn, port) | environment, b"api.serving") as api,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CLIENTS)) as session,
    ):
        yield Caller(session, f"http://127.0.0.1:{port}", api.pid)


async def timed[Asked](
    caller: Caller, ask: Callable[[Asked], Awaitable[float]], asked: Sequence[Asked]
) -> tuple[float, float, float]:
    """Ask one by one, then the second half at once. Return the p50 and the CPU of one, and calls per second."""
    half = len(asked) // 2
    await ask(asked[0])
    cpu = cpu_seconds(caller.pid)
    p50 = statistics.median([await ask(one) for one in asked[1:half]])
    cpu = (cpu_seconds(caller.pid) - cpu) / (half - 1) * 1000
    begun = time.perf_counter()
    await asyncio.gather(*map(ask, asked[half:]))
    return p50, cpu, len(asked[half:]) / (time.perf_counter() - begun)


async def measure(dsn: str, environment: dict[str, str], ids: Sequence[str], *, warm: bool = False) -> Figures:
    """Measure both kinds of call, each on an API of its own. Unless `warm`, it has signed none of these URLs."""
    pages = [ids[begin : begin + MANY] for begin in range(0, len(ids), MANY)]
    async with calling(dsn, environment) as caller:
        for page in pages if warm else ():
            await caller.many(page)
        many = await timed(caller, caller.many, pages)
    async with calling(dsn, environment) as caller:
        for page in pages if warm else ():
            await caller.many(page)
        single = await timed(caller, caller.single, ids)
    return Figures(*many[:2], *single[:2], many[2] * MANY, single[2])


async def run() -> dict[str, Figures]:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    cloudfront = {"CLOUDFRONT_DOMAIN": "cdn.example", "CLOUDFRONT_KEY_PAIR_ID": "K", "CLOUDFRONT_PRIVATE_KEY": pem}
    async with AsyncExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-urls-", ignore_cleanup_errors=True))
        )
        server = await postgres_part.start(folder / "postgres", free_port(), folder, uuid4().hex)
        stack.push_async_callback(server.child.stop)
        await postgres_part.create_database(server, "bench")
        dsn = server.dsn("bench")
        await schema.apply(dsn)
        async with connect(dsn) as database:
            ids = [str(row["asset_id"]) for row in await database.fetch(_FILL, PICTURES)]
            await database.execute("ANALYZE")
        return {
            "S3, cold": await measure(dsn, {}, ids),
            "CloudFront, cold": await measure(dsn, cloudfront, ids),
            "CloudFront, known": await measure(dsn, cloudfront, ids, warm=True),
        }


def table(found: dict[str, Figures]) -> str:
    """Return the figures as lines of a Markdown table."""
    lines = ["| signed by | 100: p50 ms | CPU ms | one: p50 ms | CPU ms | 100: URLs/s | one: URLs/s | gain |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    lines += [
        f"| {name} | {one.many_p50_ms:.1f} | {one.many_cpu_ms:.1f} | {one.single_p50_ms:.1f} |"
        f" {one.single_cpu_ms:.2f} | {one.many_urls_per_second:,.0f} | {one.single_urls_per_second:,.0f} |"
        f" {one.gain:.1f} |"
        for name, one in found.items()
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.sh bench urls", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args()
    found = asyncio.run(run())
    report = {name: asdict(one) | {"gain": one.gain} for name, one in found.items()}
    sys.stdout.write((json.dumps(report) if options.json else table(found)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
