"""Documents in the scan stage, with a real clamd: what is decrypted or rewritten is scanned, too."""

import asyncio
import zlib
from collections.abc import Callable
from functools import partial
from io import BytesIO

import pikepdf
import pytest
from pikepdf import Dictionary, Encryption, Name, Stream

from deploy.local.clamav import EICAR
from handlers.scan.clamd.instream import Address
from media.asset import AssetNote, AssetType, Stage, Status, output_prefix
from media.errors import Code, RejectedError
from tests.conftest import Scanner
from tests.integration.scan.conftest import ScanStage, corpus
from tests.unit.handlers.scan.clamd.fake_clamd import fake_clamd, says
from tests.unit.handlers.scan.documents.samples import Change, attached, document, opening, script, signed

FILE = Name("/EmbeddedFile")
OWNER_ONLY = Encryption(user="", owner="owner")


async def test_a_document_that_opens_without_a_password_is_ready(scan_stage: ScanStage, clamd: Scanner) -> None:
    content = document(pages=3, encryption=OWNER_ONLY)
    asset = await scan_stage.asset(content, AssetType.DOCUMENT)
    commit = await scan_stage.scan(asset, Address.parse(clamd.address))
    assert (commit.status, commit.facts.page_count, commit.facts.notes) == (Status.PROCESSING, 3, [])
    assert commit.next_stage is Stage.IMAGE
    (original,) = commit.renditions
    assert await scan_stage.read(original.key) == content
    assert original.bytes == len(content)


async def test_what_encryption_hides_is_scanned(scan_stage: ScanStage, clamd: Scanner) -> None:
    malware = corpus("malware/clam.zip.b64")
    asset = await scan_stage.asset(document(attached("a.zip", malware), encryption=OWNER_ONLY), AssetType.DOCUMENT)
    commit = await scan_stage.scan(asset, Address.parse(clamd.address))
    assert (commit.status, commit.code) == (Status.REJECTED, Code.INFECTED)
    assert (await scan_stage.tags(asset))["scan-status"] == "INFECTED"
    assert not commit.renditions


def predicted(content: bytes) -> Change:
    """Attach a file in rows whose bytes are differences to those above, as PNG's are."""

    def change(pdf: pikepdf.Pdf) -> None:
        attached("lab.txt", content)(pdf)
        above, rows = bytes(4), b""
        for at in range(0, len(content), 4):
            row = content[at : at + 4].ljust(4)
            rows += b"\2" + bytes((a - b) & 255 for a, b in zip(row, above, strict=True))
            above = row
        (file,) = (item for item in pdf.objects if isinstance(item, Stream) and item.get(Name.Type) == FILE)
        file.write(zlib.compress(rows), filter=Name.FlateDecode, decode_parms=Dictionary(Predictor=15, Columns=4))

    return change


@pytest.mark.parametrize("others", [[], [signed]])
@pytest.mark.parametrize("attach", [partial(attached, "lab.txt"), predicted])
async def test_what_clamd_does_not_unpack_is_scanned(
    attach: Callable[[bytes], Change], others: list[Change], scan_stage: ScanStage, clamd: Scanner
) -> None:
    content = document(attach(bytes.fromhex(EICAR)), *others)  # qpdf notes a checksum in hex
    asset = await scan_stage.asset(content, AssetType.DOCUMENT)
    commit = await scan_stage.scan(asset, Address.parse(clamd.address))
    assert (commit.status, commit.code) == (Status.REJECTED, Code.INFECTED)


async def test_a_document_with_an_attached_table_is_served_as_it_is(scan_stage: ScanStage, clamd: Scanner) -> None:
    content = document(attached("lab.csv", b"a;b\n"))
    asset = await scan_stage.asset(content, AssetType.DOCUMENT)
    (original,) = (await scan_stage.scan(asset, Address.parse(clamd.address))).renditions
    assert await scan_stage.read(original.key) == content


async def test_the_rewritten_document_is_stored_below_the_attempt(scan_stage: ScanStage, clamd: Scanner) -> None:
    asset = await scan_stage.asset(document(opening(script())), AssetType.DOCUMENT)
    commit = await scan_stage.scan(asset, Address.parse(clamd.address))
    assert commit.facts.notes == [AssetNote("actions_removed", "Taken out: JavaScript (1)")]
    (original,) = commit.renditions
    assert original.name == "original"
    assert original.key == output_prefix(asset, Stage.SCAN, 1) + "original.pdf"
    served = await scan_stage.read(original.key)
    assert len(served) == original.bytes
    with pikepdf.open(BytesIO(served)) as pdf:
        assert "/OpenAction" not in pdf.Root


async def test_a_rewritten_document_without_a_verdict_is_not_stored(scan_stage: ScanStage) -> None:
    replies = iter([says(b"stream: OK\0"), says(b"stream: Heuristics.Limits.Exceeded.MaxFiles FOUND\0")])

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await next(replies)(reader, writer)

    asset = await scan_stage.asset(document(opening(script())), AssetType.DOCUMENT)
    async with fake_clamd(behave) as fake:
        commit = await scan_stage.scan(asset, fake.address)
    assert (commit.status, commit.code, commit.renditions) == (Status.REJECTED, Code.UNSCANNABLE, ())


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (document(encryption=Encryption(user="secret", owner="owner")), Code.ENCRYPTED),
        (document(signed, opening(script())), Code.ACTIVE_CONTENT),
        (document(pages=0), Code.CORRUPT),
    ],
)
async def test_a_document_that_is_refused(content: bytes, code: Code, scan_stage: ScanStage, clamd: Scanner) -> None:
    asset = await scan_stage.asset(content, AssetType.DOCUMENT)
    with pytest.raises(RejectedError) as caught:
        await scan_stage.scan(asset, Address.parse(clamd.address))
    assert caught.value.code is code
