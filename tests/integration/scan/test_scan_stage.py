"""The scan stage on a real S3: only clean files pass, and the version is tagged with its verdict."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest

from handlers.scan.clamd.instream import Address
from media.asset import AssetType, StageState, Status
from media.asset_store.stages import Commit
from media.aws.clients import Clients
from media.aws.s3 import ObjectStorage
from media.errors import Code, Dependency, RejectedError, RetryableError, UnavailableError
from media.outbox import EffectKind
from tests.conftest import EmulatedAws, Scanner
from tests.integration.scan.conftest import ScanStage, corpus, settings_for
from tests.unit.handlers.scan.clamd.fake_clamd import BAD, fake_clamd, says

PICTURE = b"\xff\xd8\xff\xe0" + bytes(5000)
LARGE = b"\xff\xd8\xff\xe0" + bytes(16 << 20)
MALWARE = [
    "clam.exe.b64",
    "clam.pdf.b64",
    "clam.zip.b64",
    "eicar.com.b64",
    "eicar_com.zip.b64",
    "eicarcom2.zip.b64",
    "png-with-clam-zip-appended.png.b64",
]
CLEAN = says(b"stream: OK\0")


def passed(outcome: Commit) -> bool:
    return outcome.state is StageState.DONE


@pytest.mark.parametrize("name", MALWARE)
async def test_malware_is_rejected_tagged_and_quarantined(name: str, scan_stage: ScanStage, clamd: Scanner) -> None:
    asset = await scan_stage.asset(corpus(f"malware/{name}"))
    commit = await scan_stage.scan(asset, Address.parse(clamd.address))
    assert (commit.status, commit.code) == (Status.REJECTED, Code.INFECTED)
    (effect,) = commit.effects
    assert effect.kind is EffectKind.QUARANTINE
    assert (await scan_stage.tags(asset))["scan-status"] == "INFECTED"


async def test_text_about_malware_is_clean_but_no_picture(scan_stage: ScanStage, clamd: Scanner) -> None:
    asset = await scan_stage.asset(corpus("malware/eicar-base64-text.txt"))
    with pytest.raises(RejectedError) as caught:
        await scan_stage.scan(asset, Address.parse(clamd.address))
    assert caught.value.code is Code.TYPE_MISMATCH
    assert (await scan_stage.tags(asset))["scan-status"] == "CLEAN"


@pytest.mark.parametrize("behavior", BAD)
async def test_failed_scan_is_never_clean(behavior: str, scan_stage: ScanStage) -> None:
    asset = await scan_stage.asset(LARGE if "ok" in behavior else PICTURE)
    await scan_stage.forge(asset.source, {"scan-status": "CLEAN", "color": "blue"})
    async with fake_clamd(BAD[behavior]) as fake:
        with pytest.raises(RetryableError) as caught:
            await scan_stage.scan(asset, fake.address, timeout=0.3, max_bytes=1 << 30)
    assert caught.value.code is Code.SCANNER_ERROR
    tags = await scan_stage.tags(asset)
    assert (tags["scan-status"], tags["color"]) == ("ERROR", "blue")


@asynccontextmanager
async def cutting_s3(content: bytes, sent: int) -> AsyncIterator[str]:
    """Run an S3 that announces all of the content and hangs up after some of it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            head = f'HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\nETag: "x"\r\n\r\n'
            writer.write(head.encode() + content[:sent])
            await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("sent", [0, 1, 300_000, len(LARGE) - 1])
async def test_a_stream_that_s3_cuts_is_never_clean(sent: int, scan_stage: ScanStage, emulator: EmulatedAws) -> None:
    asset = await scan_stage.asset(LARGE)
    async with AsyncExitStack() as stack, fake_clamd(CLEAN) as fake, cutting_s3(LARGE, sent) as url:
        cut = ObjectStorage(await Clients(settings_for(emulator, aws_endpoint_url=url), stack).s3())

        class HalfDead(ObjectStorage):
            """A storage whose objects are cut off while they are read."""

            stream = cut.stream

        with pytest.raises(UnavailableError) as caught:
            await scan_stage.scan(asset, fake.address, storage=HalfDead(scan_stage.s3))
        assert caught.value.dependency is Dependency.S3
        assert "scan-status" not in await scan_stage.tags(asset)


async def test_a_stream_that_is_shorter_than_its_object_is_not_judged(
    scan_stage: ScanStage, emulator: EmulatedAws
) -> None:
    asset = await scan_stage.asset(LARGE)
    short = LARGE[:1000]
    async with AsyncExitStack() as stack, fake_clamd(CLEAN) as fake, cutting_s3(short, len(short)) as url:
        other = ObjectStorage(await Clients(settings_for(emulator, aws_endpoint_url=url), stack).s3())

        class Short(ObjectStorage):
            stream = other.stream

        with pytest.raises(RetryableError) as caught:
            await scan_stage.scan(asset, fake.address, storage=Short(scan_stage.s3))
    assert caught.value.code is Code.STORAGE_ERROR


async def test_an_empty_object_is_rejected_without_a_scan(scan_stage: ScanStage) -> None:
    async with fake_clamd(CLEAN) as fake:
        with pytest.raises(RejectedError) as caught:
            await scan_stage.scan(await scan_stage.asset(b""), fake.address)
        assert (caught.value.code, fake.asked) == (Code.EMPTY, 0)


async def test_too_large_file_is_not_streamed(scan_stage: ScanStage) -> None:
    async with fake_clamd(CLEAN) as fake:
        asset = await scan_stage.asset(PICTURE)
        with pytest.raises(RejectedError) as caught:
            await scan_stage.scan(asset, fake.address, max_bytes=1000, reencode_unscannable_video=True)
        assert (caught.value.code, fake.asked) == (Code.TOO_LARGE_TO_SCAN, 0)
        assert (await scan_stage.tags(asset))["scan-status"] == "UNSCANNABLE"


@pytest.mark.parametrize("by", ["our setting", "clamd's setting"])
@pytest.mark.parametrize("reencode", [True, False])
async def test_a_video_too_large_to_scan(by: str, reencode: bool, scan_stage: ScanStage) -> None:
    limits = {"max_bytes": 1000} if by == "our setting" else {}
    asset = await scan_stage.asset(PICTURE, AssetType.VIDEO)
    async with fake_clamd(says(b"INSTREAM size limit exceeded. ERROR\0")) as fake:
        if reencode:
            commit = await scan_stage.scan(asset, fake.address, reencode_unscannable_video=True, **limits)
            assert (commit.status, commit.renditions) == (Status.PROCESSING, ())
        else:
            with pytest.raises(RejectedError) as caught:
                await scan_stage.scan(asset, fake.address, **limits)
            assert caught.value.code is Code.TOO_LARGE_TO_SCAN
    assert (await scan_stage.tags(asset))["scan-status"] == "UNSCANNABLE"


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (b"stream: Heuristics.Limits.Exceeded.MaxScanSize FOUND\0", Code.UNSCANNABLE),
        (b"stream: Heuristics.Encrypted.Zip FOUND\0", Code.ENCRYPTED),
    ],
)
async def test_other_reasons_reject_a_video_too(reply: bytes, code: Code, scan_stage: ScanStage) -> None:
    asset = await scan_stage.asset(PICTURE, AssetType.VIDEO)
    async with fake_clamd(says(reply)) as fake:
        commit = await scan_stage.scan(asset, fake.address, reencode_unscannable_video=True)
    assert (commit.status, commit.code, list(commit.effects)) == (Status.REJECTED, code, [])
    assert (await scan_stage.tags(asset))["scan-status"] == "UNSCANNABLE"


async def test_a_forged_tag_is_overwritten_before_the_commit(scan_stage: ScanStage) -> None:
    asset = await scan_stage.asset(PICTURE)
    forged = {"scan-status": "CLEAN", "scan-signature": "none", "scan-note": "trust me"}
    await scan_stage.forge(asset.source, forged | {f"tag-{n}": "x" for n in range(7)})
    async with fake_clamd(says(b"stream: Eicar FOUND\0")) as fake:
        await scan_stage.scan(asset, fake.address)
    tags = await scan_stage.tags(asset)
    assert (tags["scan-status"], tags["scan-signature"]) == ("INFECTED", "Eicar")
    assert "scan-note" not in tags
    assert len(tags) == 10, "as many of the others stay as S3 lets"


async def test_another_object_under_the_key_is_not_scanned(scan_stage: ScanStage) -> None:
    asset = await scan_stage.asset(PICTURE)
    async with fake_clamd(CLEAN) as fake:
        with pytest.raises(RejectedError) as caught:
            await scan_stage.scan(replace(asset, etag="0" * 32), fake.address)
    assert (caught.value.code, fake.asked) == (Code.SOURCE_CHANGED, 0)


async def test_a_foreign_bucket_is_never_touched(scan_stage: ScanStage, emulator: EmulatedAws) -> None:
    asset = await scan_stage.asset(PICTURE, bucket=emulator.topology.recordings_bucket)
    async with fake_clamd(says(b"stream: Eicar FOUND\0")) as fake:
        commit = await scan_stage.scan(asset, fake.address)
    assert (commit.code, list(commit.effects)) == (Code.INFECTED, [])
    assert await scan_stage.tags(asset) == {}
