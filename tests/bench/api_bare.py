"""The yardstick: a bare aiohttp handler that runs one asyncpg query, and one that inserts one row.

`python -m tests.bench.api_bare PORT`, with the database in MEDIA_DATABASE_URL. No checks, no headers, no log.
"""

import asyncio
import os
import sys
from uuid import UUID, uuid4

import asyncpg
from aiohttp import web

POOL = web.AppKey("pool", asyncpg.Pool)


async def read(request: web.Request) -> web.Response:
    record = await request.app[POOL].fetchrow(
        "SELECT asset_id, owner_id, status FROM assets WHERE asset_id = $1", UUID(request.match_info["asset_id"])
    )
    assert record
    return web.json_response({"asset_id": str(record["asset_id"]), "status": record["status"]})


async def insert(request: web.Request) -> web.Response:
    asset_id = uuid4()
    await request.app[POOL].execute("INSERT INTO bench (id, body) VALUES ($1, $2)", asset_id, await request.text())
    return web.json_response({"asset_id": str(asset_id)}, status=201)


async def main(port: int) -> None:
    async with asyncpg.create_pool(os.environ["MEDIA_DATABASE_URL"], min_size=10, max_size=10) as pool:
        await pool.execute("CREATE TABLE IF NOT EXISTS bench (id uuid PRIMARY KEY, body text)")
        app = web.Application()
        app[POOL] = pool
        app.router.add_get("/bare/{asset_id}", read)
        app.router.add_post("/bare", insert)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        sys.stdout.write("serving\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
