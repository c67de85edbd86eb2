"""Hostile files: each is rejected with a code, affects no other file, and leaves no files behind."""

import asyncio
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin
from structlog.testing import capture_logs

from handlers.image.protocol import JobKind
from handlers.image.renderer import ImageRenderer, RenderedImage
from handlers.sandbox import JobFailedError, WorkerPool
from media.errors import Code, RejectedError, RetryableError
from tests.unit.handlers.image.conftest import LIMITS, Render
from tests.unit.handlers.image.pictures import CORPUS, difference, opened, quarters, saved
from tests.unit.handlers.image.pngs import apng, chunk

GIF_BOMB = (
    b"GIF89a\xff\xff\xff\xff\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\xff\xff\xff\xff\x00\x02\x02D\x01\x00;"
)


def text_bomb(kind: bytes) -> bytes:
    """A PNG whose compressed text, or profile, inflates to 256 MB."""
    prefix = b"ICC Profile\x00\x00" if kind == b"iCCP" else b"Comment\x00\x00"
    bomb = chunk(kind, prefix + zlib.compress(bytes(256 << 20), 9))
    plain = saved(quarters((64, 64)), "PNG")
    return plain[:33] + bomb + plain[33:]


def without_palette() -> bytes:
    data = saved(quarters().quantize(8), "PNG")
    at = data.index(b"PLTE") - 4
    return data[:at] + data[at + 12 + int.from_bytes(data[at : at + 4], "big") :]


def many_text_chunks() -> bytes:
    text = PngImagePlugin.PngInfo()
    for n in range(80):
        text.add_text(f"key{n}", "x" * (1 << 20), zip=True)
    return saved(quarters((64, 64)), "PNG", pnginfo=text)


@pytest.mark.parametrize(
    ("source", "code"),
    [
        pytest.param(b"", Code.EMPTY, id="empty"),
        pytest.param(b"just a text, named photo.jpg\n" * 40, Code.TYPE_MISMATCH, id="text"),
        pytest.param(b"PK\x03\x04" + bytes(100), Code.TYPE_MISMATCH, id="zip"),
        pytest.param(b"\x00\x00\x00\x18ftypisom" + bytes(100), Code.TYPE_MISMATCH, id="video"),
        pytest.param(saved(quarters(), "PDF"), Code.UNSUPPORTED, id="pdf"),
        pytest.param(saved(quarters(), "JPEG")[:900], Code.CORRUPT, id="truncated jpeg"),
        pytest.param(saved(quarters(), "PNG")[:200], Code.CORRUPT, id="truncated png"),
        pytest.param(saved(quarters(), "WEBP")[:200], Code.CORRUPT, id="truncated webp"),
        pytest.param(saved(quarters(), "TIFF")[:2000], Code.CORRUPT, id="truncated tiff"),
        pytest.param(b"\xff\xd8\xff\xe0" + bytes(50), Code.CORRUPT, id="jpeg in name only"),
        pytest.param(GIF_BOMB, Code.TOO_MANY_PIXELS, id="gif bomb"),
        pytest.param(apng((3000, 3000), 60), Code.TOO_MANY_PIXELS, id="apng of 60 x 9 MP"),
        pytest.param(without_palette(), Code.CORRUPT, id="no palette"),
    ],
)
async def test_bad_file_is_rejected_with_its_code(source: bytes, code: Code, render: Render, tmp_path: Path) -> None:
    with pytest.raises(RejectedError) as refused:
        await render(source)
    assert refused.value.code is code
    assert str(tmp_path) not in refused.value.detail
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    "make",  # each takes a second, and every process of a run imports this page
    [
        pytest.param(lambda: text_bomb(b"zTXt"), id="text bomb"),
        pytest.param(lambda: text_bomb(b"iCCP"), id="profile bomb"),
        pytest.param(many_text_chunks, id="80 MB of text"),
    ],
)
async def test_bomb_in_metadata_is_not_inflated_and_costs_nothing(make: Callable[[], bytes], render: Render) -> None:
    assert difference(opened(await render(make())), quarters((64, 64))) < 8


async def test_file_over_the_byte_limit_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(saved(quarters(), "PNG"))
    with pytest.raises(RejectedError, match="too_large"):
        await ImageRenderer(replace(LIMITS, max_bytes=100)).render(tmp_path / "source", tmp_path)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("large") / "source"
    source.write_bytes(saved(Image.linear_gradient("L").resize((7000, 7000)).convert("RGBA"), "PNG", compress_level=1))
    return source


@pytest.mark.parametrize("changes", [{"memory": 256 << 20}, {"timeout": 0.5}])
async def test_child_over_a_limit_fails_only_its_own_file(changes: dict[str, Any], large: Path, tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.write_bytes(saved(quarters(), "PNG"))
    outs = [tmp_path / "out1", tmp_path / "out2", tmp_path / "out3"]
    for out in outs:
        out.mkdir()
    async with ImageRenderer(replace(LIMITS, **changes)) as renderer:
        bad, neighbor = await asyncio.gather(
            renderer.render(large, outs[0]), renderer.render(good, outs[1]), return_exceptions=True
        )
        afterwards = await renderer.render(good, outs[2])
    assert isinstance(bad, RejectedError)
    assert bad.code is Code.RESOURCE_LIMIT
    assert isinstance(neighbor, RenderedImage)
    assert len(afterwards.files) == 2
    assert not list(outs[0].iterdir())


async def test_missing_source_is_not_called_corrupt(renderer: ImageRenderer, tmp_path: Path) -> None:
    job = renderer._job(JobKind.SURVEY, tmp_path / "gone", "image/png", tmp_path)
    with pytest.raises(RetryableError, match="No such file"):
        await renderer._ask(job)


async def test_cancellation_leaves_no_file(large: Path, renderer: ImageRenderer, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    job = asyncio.ensure_future(renderer.render(large, out))
    async with asyncio.timeout(30):
        while not any(out.iterdir()):  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.005)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert not list(out.iterdir())


async def test_a_small_budget_makes_pictures_wait_and_not_fail(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(saved(quarters(), "PNG"))
    async with ImageRenderer(replace(LIMITS, budget=1)) as renderer:
        outs = [tmp_path / f"out{n}" for n in range(6)]
        for out in outs:
            out.mkdir()
        rendered = await asyncio.gather(*(renderer.render(source, out) for out in outs))
    assert [len(r.files) for r in rendered] == [2] * 6


async def test_unforeseen_error_is_logged_and_is_corrupt_when_exhausted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("handlers.image.renderer._WORKER", "tests.unit.handlers.image.worker_factories:failing")
    source = tmp_path / "source"
    async with ImageRenderer(replace(LIMITS, workers=1)) as renderer:
        source.write_bytes(saved(quarters((77, 50)), "PNG"))
        with capture_logs() as logs, pytest.raises(RetryableError, match="LookupError: nobody foresaw this") as caught:
            await renderer.render(source, tmp_path)
        assert caught.value.code_when_exhausted is Code.CORRUPT
        (entry,) = [entry for entry in logs if entry["event"] == "image.unforeseen"]
        assert entry["log_level"] == "error"
        assert "Traceback" in entry["trace"]
        source.write_bytes(saved(quarters((78, 50)), "PNG"))
        assert (await renderer.render(source, tmp_path)).files, "it costs only itself"


async def test_failed_job_is_retried(monkeypatch: pytest.MonkeyPatch, renderer: ImageRenderer, tmp_path: Path) -> None:
    async def fail(_pool: WorkerPool, _job: str) -> str:
        raise JobFailedError("Traceback\nOSError: [Errno 28] No space left on device")

    (tmp_path / "source").write_bytes(saved(quarters(), "PNG"))
    monkeypatch.setattr(WorkerPool, "run", fail)
    with pytest.raises(RetryableError, match="No space left"):
        await renderer.render(tmp_path / "source", tmp_path)


@pytest.mark.parametrize("full", [True, False])
async def test_full_disk_is_retried(
    full: bool, monkeypatch: pytest.MonkeyPatch, renderer: ImageRenderer, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "w320.webp").symlink_to("/dev/full")  # the device that is always full
    (tmp_path / "source").write_bytes(saved(quarters(), "PNG"))
    monkeypatch.setattr("handlers.scratch.LITTLE", 1 << 62 if full else 0)
    with pytest.raises(RetryableError, match="disk") as caught:
        await renderer.render(tmp_path / "source", out)
    assert caught.value.counts_as_attempt is not full, "a child that was taken over may say so for ever"
    assert not list(out.iterdir())
    await renderer.render(tmp_path / "source", out)


@pytest.mark.skipif(not CORPUS.exists(), reason="the corpus of real files is not beside the repository")
async def test_damaged_heic_is_refused(render: Render) -> None:
    source = (CORPUS / "bad" / "L_xmp_latin1.heic").read_bytes()
    with pytest.raises(RejectedError, match="corrupt"):
        await render(source[:550])  # the pixels end at 570
