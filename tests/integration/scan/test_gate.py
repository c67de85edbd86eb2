"""The gate on real S3: what is not clean never passes, and the version's own tag says so."""

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
from tests.integration.scan.conftest import Gate, corpus, settings_for
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
async def test_malware_is_rejected_tagged_and_quarantined(name: str, gate: Gate, clamd: Scanner) -> None:
    asset = await gate.asset(corpus(f"malware/{name}"))
    commit = await gate.scan(asset, Address.parse(clamd.address))
    assert (commit.status, commit.code) == (Status.REJECTED, Code.INFECTED)
    (effect,) = commit.effects
    assert effect.kind is EffectKind.QUARANTINE
    assert (await gate.tags(asset))["scan-status"] == "INFECTED"


async def test_text_about_malware_is_clean_but_no_picture(gate: Gate, clamd: Scanner) -> None:
    asset = await gate.asset(corpus("malware/eicar-base64-text.txt"))
    with pytest.raises(RejectedError) as caught:
        await gate.scan(asset, Address.parse(clamd.address))
    assert caught.value.code is Code.TYPE_MISMATCH
    assert (await gate.tags(asset))["scan-status"] == "CLEAN"


@pytest.mark.parametrize("behavior", BAD)
async def test_a_scanner_that_fails_lets_nothing_pass(behavior: str, gate: Gate) -> None:
    asset = await gate.asset(LARGE if "ok" in behavior else PICTURE)
    await gate.forge(asset.source, {"scan-status": "CLEAN", "color": "blue"})
    async with fake_clamd(BAD[behavior]) as fake:
        with pytest.raises(RetryableError) as caught:
            await gate.scan(asset, fake.address, timeout=0.3, max_bytes=1 << 30)
    assert caught.value.code is Code.SCANNER_ERROR
    tags = await gate.tags(asset)
    assert (tags["scan-status"], tags["color"]) == ("ERROR", "blue")


@asynccontextmanager
async def cutting_s3(content: bytes, sent: int) -> AsyncIterator[str]:
    """Announces all of the content and hangs up after some of it."""

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
async def test_a_stream_that_s3_cuts_is_never_clean(sent: int, gate: Gate, emulator: EmulatedAws) -> None:
    asset = await gate.asset(LARGE)
    async with AsyncExitStack() as stack, fake_clamd(CLEAN) as fake, cutting_s3(LARGE, sent) as url:
        cut = ObjectStorage(await Clients(settings_for(emulator, aws_endpoint_url=url), stack).s3())

        class HalfDead(ObjectStorage):
            """Knows the object, and breaks off when it is read."""

            stream = cut.stream

        with pytest.raises(UnavailableError) as caught:
            await gate.scan(asset, fake.address, storage=HalfDead(gate.s3))
        assert caught.value.dependency is Dependency.S3
        assert "scan-status" not in await gate.tags(asset)


async def test_a_stream_that_is_shorter_than_its_object_is_not_judged(gate: Gate, emulator: EmulatedAws) -> None:
    asset = await gate.asset(LARGE)
    short = LARGE[:1000]
    async with AsyncExitStack() as stack, fake_clamd(CLEAN) as fake, cutting_s3(short, len(short)) as url:
        other = ObjectStorage(await Clients(settings_for(emulator, aws_endpoint_url=url), stack).s3())

        class Short(ObjectStorage):
            stream = other.stream

        with pytest.raises(RetryableError) as caught:
            await gate.scan(asset, fake.address, storage=Short(gate.s3))
    assert caught.value.code is Code.STORAGE_ERROR


async def test_an_empty_object_is_rejected_without_a_scan(gate: Gate) -> None:
    async with fake_clamd(CLEAN) as fake:
        with pytest.raises(RejectedError) as caught:
            await gate.scan(await gate.asset(b""), fake.address)
        assert (caught.value.code, fake.asked) == (Code.EMPTY, 0)


async def test_what_is_too_large_is_not_streamed_in_vain(gate: Gate) -> None:
    async with fake_clamd(CLEAN) as fake:
        asset = await gate.asset(PICTURE)
        with pytest.raises(RejectedError) as caught:
            await gate.scan(asset, fake.address, max_bytes=1000, reencode_unscannable_video=True)
        assert (caught.value.code, fake.asked) == (Code.TOO_LARGE_TO_SCAN, 0)
        assert (await gate.tags(asset))["scan-status"] == "UNSCANNABLE"


@pytest.mark.parametrize("by", ["our setting", "clamd's setting"])
@pytest.mark.parametrize("reencode", [True, False])
async def test_a_video_too_large_to_scan(by: str, reencode: bool, gate: Gate) -> None:
    limits = {"max_bytes": 1000} if by == "our setting" else {}
    asset = await gate.asset(PICTURE, AssetType.VIDEO)
    async with fake_clamd(says(b"INSTREAM size limit exceeded. ERROR\0")) as fake:
        if reencode:
            commit = await gate.scan(asset, fake.address, reencode_unscannable_video=True, **limits)
            assert (commit.status, commit.renditions) == (Status.PROCESSING, ())
        else:
            with pytest.raises(RejectedError) as caught:
                await gate.scan(asset, fake.address, **limits)
            assert caught.value.code is Code.TOO_LARGE_TO_SCAN
    assert (await gate.tags(asset))["scan-status"] == "UNSCANNABLE"


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (b"stream: Heuristics.Limits.Exceeded.MaxScanSize FOUND\0", Code.UNSCANNABLE),
        (b"stream: Heuristics.Encrypted.Zip FOUND\0", Code.ENCRYPTED),
    ],
)
async def test_other_reasons_reject_a_video_too(reply: bytes, code: Code, gate: Gate) -> None:
    asset = await gate.asset(PICTURE, AssetType.VIDEO)
    async with fake_clamd(says(reply)) as fake:
        commit = await gate.scan(asset, fake.address, reencode_unscannable_video=True)
    assert (commit.status, commit.code, list(commit.effects)) == (Status.REJECTED, code, [])
    assert (await gate.tags(asset))["scan-status"] == "UNSCANNABLE"


async def test_a_forged_tag_is_overwritten_before_the_commit(gate: Gate) -> None:
    asset = await gate.asset(PICTURE)
    forged = {"scan-status": "CLEAN", "scan-signature": "none", "scan-note": "trust me"}
    await gate.forge(asset.source, forged | {f"tag-{n}": "x" for n in range(7)})
    async with fake_clamd(says(b"stream: Eicar FOUND\0")) as fake:
        await gate.scan(asset, fake.address)
    tags = await gate.tags(asset)
    assert (tags["scan-status"], tags["scan-signature"]) == ("INFECTED", "Eicar")
    assert "scan-note" not in tags
    assert len(tags) == 10, "as many of the others stay as S3 lets"


async def test_another_object_under_the_key_is_not_scanned(gate: Gate) -> None:
    asset = await gate.asset(PICTURE)
    async with fake_clamd(CLEAN) as fake:
        with pytest.raises(RejectedError) as caught:
            await gate.scan(replace(asset, etag="0" * 32), fake.address)
    assert (caught.value.code, fake.asked) == (Code.SOURCE_CHANGED, 0)


async def test_a_foreign_bucket_is_never_touched(gate: Gate, emulator: EmulatedAws) -> None:
    asset = await gate.asset(PICTURE, bucket=emulator.topology.recordings_bucket)
    async with fake_clamd(says(b"stream: Eicar FOUND\0")) as fake:
        commit = await gate.scan(asset, fake.address)
    assert (commit.code, list(commit.effects)) == (Code.INFECTED, [])
    assert await gate.tags(asset) == {}
