"""nginx as the caching proxy of a hospital or a provider: it keeps what the headers of an answer let it keep."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from deploy.local.child import accepts_connections
from deploy.local.ports import free_port

PROGRAM = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin") or shutil.which("nginx")
START_DEADLINE = 20.0
FROM_CACHE = "X-Cache-Status"
"""The header of an answer that says HIT, MISS or EXPIRED."""
TEMPORARY = "".join(f"{kind}_temp_path {{folder}};" for kind in ("client_body", "fastcgi", "uwsgi", "scgi", "proxy"))
CONFIGURATION = f"""
daemon off; user root; pid {{folder}}/nginx.pid; error_log stderr;
events {{{{}}}}
http {{{{
  {TEMPORARY} access_log off; proxy_cache_path {{folder}}/cache keys_zone=kept:1m inactive=1d;
  server {{{{
    listen 127.0.0.1:{{port}};
    location / {{{{
      proxy_pass {{origin}}; proxy_set_header Host {{host}};
      proxy_cache kept; add_header {FROM_CACHE} $upstream_cache_status always;
    }}}}
  }}}}
}}}}
"""


class CachingProxy:
    def __init__(self, port: int) -> None:
        self._authority = f"127.0.0.1:{port}"

    def url(self, origin: str) -> str:
        """Return the URL at which the proxy answers for a URL of its origin."""
        return urlunsplit(urlsplit(origin)._replace(scheme="http", netloc=self._authority))


@asynccontextmanager
async def caching_proxy(origin: str, folder: Path) -> AsyncIterator[CachingProxy]:
    """Run nginx before an origin: scheme and authority of a URL. Skip the test if it is not installed."""
    if PROGRAM is None:
        pytest.skip("nginx is not installed: apt-get install --no-install-recommends nginx")
    port, split = free_port(), urlsplit(origin)
    own = {"folder": folder, "port": port, "host": split.netloc, "origin": f"{split.scheme}://{split.netloc}"}
    path = folder / "nginx.conf"
    path.write_text(CONFIGURATION.format(**own))
    process = await asyncio.create_subprocess_exec(PROGRAM, "-p", str(folder), "-c", str(path), "-e", "stderr")
    try:
        async with asyncio.timeout(START_DEADLINE):
            while not await accepts_connections("127.0.0.1", port):
                assert process.returncode is None
                await asyncio.sleep(0.02)
        yield CachingProxy(port)
    finally:
        process.terminate()
        await process.wait()
