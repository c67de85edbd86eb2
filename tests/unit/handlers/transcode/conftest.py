"""Small clips made by ffmpeg, the shared corpus, and a file server that stands in for presigned URLs."""

import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from handlers.transcode.probing.prober import Prober
from media.asset import AssetType
from media.errors import RejectedError

type Clip = Callable[..., Path]
type Serve = Callable[[Path], Awaitable[str]]

CORPUS = Path(__file__).parents[4] / "../shared/corpus"
QUARTER_TURN = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 0x40000000)
"""The display matrix of a phone held upright: turn by 90 degrees clockwise."""


@pytest.fixture(scope="session")
def corpus() -> Path:
    if not CORPUS.is_dir():
        pytest.skip("the shared corpus does not lie beside the repository")
    return CORPUS


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Make a clip: its name, a lavfi picture or "", a lavfi sound or "", then ffmpeg's output options."""
    folder = tmp_path_factory.mktemp("clips")

    def make(name: str, picture: str = "testsrc2=s=64x48:r=25:d=1", sound: str = "", *options: str) -> Path:
        path = folder / name
        inputs = [word for source in (picture, sound) if source for word in ("-f", "lavfi", "-i", source)]
        command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *inputs, *options, str(path)]
        subprocess.run(command, check=True, timeout=60)
        return path

    return make


@pytest.fixture
def prober() -> Prober:
    return Prober()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serve a file over HTTP with ranges, under a query that looks like a signature."""
    served: dict[str, Path] = {}

    async def answer(request: web.Request) -> web.StreamResponse:
        path = served.get(request.match_info["name"])
        return web.FileResponse(path) if path else web.Response(status=404)

    app = web.Application()
    app.router.add_get("/{name}", answer)
    async with TestServer(app) as server:

        async def publish(path: Path) -> str:
            served[path.name] = path
            return str(server.make_url(f"/{path.name}").with_query({"X-Amz-Signature": "5ec2e7"}))

        yield publish


def turned(path: Path) -> Path:
    """Copy an MP4, marking its picture track as filmed upright."""
    data = bytearray(path.read_bytes())
    # The matrix of a version 0 track header lies 40 bytes behind its name, the last 8 of which we skip over.
    start = data.index(b"tkhd") + 4 + 40
    data[start : start + 36] = QUARTER_TURN
    copy = path.with_name(f"turned-{path.name}")
    copy.write_bytes(data)
    return copy


async def rejected(prober: Prober, path: Path, asset_type: AssetType = AssetType.VIDEO) -> RejectedError:
    """Probe a file that must be rejected, and return why it was."""
    with pytest.raises(RejectedError) as caught:
        await prober.probe(str(path), asset_type=asset_type)
    return caught.value
