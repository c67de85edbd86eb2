"""CloudFront's CreateInvalidation over HTTP, which refuses what AWS refuses."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from xml.etree import ElementTree as ET

from aiohttp import web
from aiohttp.test_utils import TestServer

DISTRIBUTION = "E1ABCDEF"
MOST_FILES = 3000
MOST_WILDCARDS = 15
_NAMESPACE = "{http://cloudfront.amazonaws.com/doc/2020-05-31/}"


class FakeCloudFront:
    """One distribution: its invalidations, by reference, and the paths of those that are in progress."""

    def __init__(self) -> None:
        self.batches: dict[str, list[str]] = {}
        self.in_progress: list[str] = []
        self.url = ""

    async def create(self, request: web.Request) -> web.Response:
        if request.match_info["id"] != DISTRIBUTION:
            return _refusal(404, "NoSuchDistribution")
        batch = ET.fromstring(await request.text())  # noqa: S314 - of our own client
        paths = [str(item.text) for item in batch.iter(f"{_NAMESPACE}Path")]
        reference = str(batch.findtext(f"{_NAMESPACE}CallerReference"))
        if any(not path.startswith("/") or "*" in path[:-1] or "//" in path for path in paths):
            return _refusal(400, "InvalidArgument")
        if str(len(paths)) != batch.findtext(f"{_NAMESPACE}Paths/{_NAMESPACE}Quantity"):
            return _refusal(400, "InconsistentQuantities")
        if reference in self.batches:
            return _created() if self.batches[reference] == paths else _refusal(400, "InvalidationBatchAlreadyExists")
        wanted = self.in_progress + paths
        if len(wanted) > MOST_FILES or sum(path.endswith("*") for path in wanted) > MOST_WILDCARDS:
            return _refusal(400, "TooManyInvalidationsInProgress")
        self.batches[reference] = paths
        self.in_progress = wanted
        return _created()


def _created() -> web.Response:
    text = "<Invalidation><Id>I1</Id><Status>InProgress</Status></Invalidation>"
    return web.Response(status=201, text=text, content_type="text/xml")


def _refusal(status: int, code: str) -> web.Response:
    text = (
        f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{code}</Message></Error></ErrorResponse>"
    )
    return web.Response(status=status, text=text, content_type="text/xml")


@asynccontextmanager
async def running_cloudfront() -> AsyncIterator[FakeCloudFront]:
    fake = FakeCloudFront()
    app = web.Application()
    app.router.add_post("/2020-05-31/distribution/{id}/invalidation", fake.create)
    async with TestServer(app) as server:
        fake.url = str(server.make_url("")).rstrip("/")
        yield fake
