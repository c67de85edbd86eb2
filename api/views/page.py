"""The page: static files with a strict Content-Security-Policy, served only if the settings say so."""

import asyncio
import gzip
import mimetypes
import re
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from api.json_io import json_response, unchanging_response
from api.problems import ProblemCode, ProblemError
from api.schemas.assets import PageTokenOut
from api.server.public_origin import came_through_proxy
from api.service import Service, service_of
from media.network.listening import is_loopback

STATIC = Path(__file__).resolve().parents[1] / "static"
_NAME = re.compile(r"[A-Za-z0-9._/-]{1,200}")
_COMPRESSED = frozenset({".js", ".css", ".svg", ".html", ".txt", ".md"})
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}


class Page:
    """Serve the page. Its policy allows connections to the API and to the storage only."""

    def __init__(self, root: Path, storage_origins: list[str]) -> None:
        self._root = root
        self._policy = _policy(storage_origins)

    async def index(self, request: web.Request) -> web.Response:
        return await self._file(request, "index.html")

    async def operations(self, request: web.Request) -> web.Response:
        """Serve the operator's view. It holds no secret: its data come from the API, for the role `admin` only."""
        return await self._file(request, "ops.html")

    async def asset(self, request: web.Request) -> web.Response:
        return await self._file(request, request.match_info["path"])

    async def _file(self, request: web.Request, name: str) -> web.Response:
        path = (self._root / name).resolve() if _NAME.fullmatch(name) else self._root
        if not path.is_relative_to(self._root) or not path.is_file():
            raise ProblemError(ProblemCode.NOT_FOUND)
        kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        headers = {
            "Content-Type": f"{kind}; charset=utf-8" if kind.startswith("text/") else kind,
            "Content-Security-Policy": self._policy,
            "Cross-Origin-Opener-Policy": "same-origin",
            "X-Frame-Options": "DENY",
        }
        plain, compressed = await asyncio.to_thread(_read, path, path.stat().st_mtime_ns)
        return unchanging_response(request, plain, compressed, headers)


@lru_cache(maxsize=128)
def _read(path: Path, _modified: int) -> tuple[bytes, bytes | None]:
    """Return a file's content, and its compressed form if it has one. A file that was changed is read again."""
    plain = path.read_bytes()
    # Without a time of its own, the same content gives the same bytes, and so the same ETag in all processes.
    return plain, gzip.compress(plain, mtime=0) if path.suffix in _COMPRESSED else None


async def dev_token(request: web.Request) -> web.Response:
    """Return the embedded stack's token for its own page. Not found everywhere else.

    Only for users of this machine: the peer must be loopback, no proxy may have passed the request on, and the
    requested host must be loopback too. Otherwise a page of another site could read the token if its name resolves to
    127.0.0.1 (DNS rebinding).
    """
    settings = service_of(request).settings
    try:
        host = urlsplit(f"//{request.host}").hostname
    except ValueError:
        host = None
    is_local = is_loopback(request.remote) and is_loopback(host) and not came_through_proxy(request)
    if settings.page_token is None or not is_local:
        raise ProblemError(ProblemCode.NOT_FOUND)
    response = json_response(PageTokenOut(token=settings.page_token.get_secret_value(), scanner=settings.page_scanner))
    response.headers["Cache-Control"] = "no-store"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    return response


def _policy(origins: list[str]) -> str:
    storage = " ".join(origins)
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            # hls.js feeds the player through a blob and runs its demuxer in a worker made of one.
            "worker-src 'self' blob:",
            "style-src 'self'",
            f"img-src 'self' data: blob: {storage}".strip(),
            f"media-src 'self' blob: {storage}".strip(),
            f"connect-src 'self' {storage}".strip(),
            "font-src 'self'",
            "manifest-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def page_of(service: Service) -> Page:
    """Build the page of this service. Pictures and segments come from the storage and from CloudFront."""
    origins = [service.delivery_urls.storage_origin]
    if domain := service.settings.cloudfront_domain:
        origins.append(domain if "://" in domain else f"https://{domain}")
    return Page(STATIC, origins)
