"""Documents that readers open are read: without a password, with a preamble, and with defects that readers repair."""

import asyncio
import random
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Literal

import pikepdf
import pytest
from pikepdf import Array, Dictionary, Encryption, Name, ObjectStreamMode, Permissions, String

from handlers.scan.documents.inspector import SECONDS, DocumentInspector
from media.errors import Code, RejectedError
from tests.unit.handlers.scan.documents.conftest import MIB, Inspector
from tests.unit.handlers.scan.documents.samples import annotated, attached, document, field, opening, script, texts, xfa

PLAIN = document(pages=2)
REVISIONS: tuple[Literal[3, 4, 6], ...] = (3, 4, 6)


def encrypted(user: str, revision: Literal[3, 4, 6]) -> Encryption:
    return Encryption(user=user, owner="owner", R=revision, aes=revision > 3, metadata=revision > 3)


OWNER_ONLY = {f"R{revision}": encrypted("", revision) for revision in REVISIONS}


async def rejected(inspector: Inspector, content: bytes) -> RejectedError:
    with pytest.raises(RejectedError) as caught:
        await inspector.inspect(content)
    return caught.value


async def outcome(inspector: Inspector, content: bytes) -> str:
    """Return `ready`, or the code of a rejection."""
    try:
        return "ready" if (await inspector.inspect(content)).found.pages else "no pages"
    except RejectedError as error:
        return error.code


@pytest.mark.parametrize("kind", OWNER_ONLY)
async def test_a_document_without_a_password_for_readers_is_decrypted_to_be_scanned(
    kind: str, inspector: Inspector
) -> None:
    content = document(attached("a.txt", b"inner text"), encryption=OWNER_ONLY[kind])
    ended = await inspector.inspect(content)
    assert ended.served == content
    assert "inner text" in texts(ended.written)


async def test_scripts_of_an_encrypted_document_are_taken_out(inspector: Inspector) -> None:
    limits = Encryption(user="", owner="owner", allow=Permissions(print_highres=False))
    ended = await inspector.inspect(document(scripted, encryption=limits))
    with pikepdf.open(BytesIO(ended.served)) as pdf:
        assert not pdf.is_encrypted
        assert Name.OpenAction not in pdf.Root


@pytest.mark.parametrize("revision", REVISIONS)
async def test_a_document_that_asks_for_a_password_is_refused_with_a_way_out(
    revision: Literal[3, 4, 6], inspector: Inspector
) -> None:
    error = await rejected(inspector, document(encryption=encrypted("secret", revision)))
    assert error.code is Code.ENCRYPTED
    assert "save it without one" in error.detail


DEFECTS = {
    "a preamble": b"------WebKitFormBoundary\r\nContent-Type: application/pdf\r\n\r\n" + PLAIN,
    "a byte order mark": b"\xef\xbb\xbf" + PLAIN,
    "a wrong startxref": PLAIN.replace(b"startxref\n", b"startxref\n9"),
    "no table of objects": PLAIN[: PLAIN.rindex(b"startxref")],
    "no end": PLAIN[:-20],
    "no header": PLAIN[PLAIN.index(b"\n") :],
    "lengths that are wrong": document(annotated(), object_stream_mode=ObjectStreamMode.disable).replace(
        b"/Length ", b"/Length 9"
    ),
    "a page tree with a loop": document(
        lambda pdf: pdf.Root.Pages.Kids.append(pdf.Root.Pages), pages=2, object_stream_mode=ObjectStreamMode.disable
    ),
}


@pytest.mark.parametrize("kind", DEFECTS)
async def test_what_readers_repair_is_repaired(kind: str, inspector: Inspector) -> None:
    ended = await inspector.inspect(DEFECTS[kind])
    assert ended.found.pages == (1 if "lengths" in kind else 2)
    assert ended.served.startswith(b"%PDF-")
    if ended.is_rewritten:
        assert ended.found.repaired
        assert not (await inspector.inspect(ended.served)).found.repaired


async def test_object_streams_need_no_compression(inspector: Inspector) -> None:
    content = document(scripted, object_stream_mode=ObjectStreamMode.generate, compress_streams=False)
    assert b"/JavaScript" in content
    assert (await inspector.inspect(content)).found.removed == {"JavaScript": 1}


@pytest.mark.parametrize("content", [b"%PDF-1.7\n", b"%PDF-1.4\nthis is no document", document(pages=0), b"%PDF-" * 9])
async def test_what_no_reader_shows_is_corrupt(content: bytes, inspector: Inspector) -> None:
    assert (await rejected(inspector, content)).code is Code.CORRUPT


def scripted(pdf: pikepdf.Pdf) -> None:
    opening(script())(pdf)


def many_objects(pdf: pikepdf.Pdf) -> None:
    pdf.Root.Many = Array([pdf.make_indirect(Dictionary(A=1)) for _ in range(65_000)])


def many_pages(pdf: pikepdf.Pdf) -> None:
    """A page tree whose levels each name the one below eight times: a thousand million pages."""
    below = pdf.make_indirect(Dictionary(Type=Name.Page, MediaBox=Array([0, 0, 9, 9])))
    for _ in range(10):
        below = pdf.make_indirect(Dictionary(Type=Name.Pages, Kids=Array([below] * 8), Count=8))
    pdf.Root.Pages = below


def nested_forms(pdf: pikepdf.Pdf) -> None:
    below = pdf.make_stream(b"0 0 9 9 re f", Type=Name.XObject, Subtype=Name.Form, BBox=Array([0, 0, 9, 9]))
    for _ in range(20):
        inner = Dictionary(XObject=Dictionary(X=below))
        below = pdf.make_stream(
            b"/X Do " * 10, Type=Name.XObject, Subtype=Name.Form, BBox=Array([0, 0, 9, 9]), Resources=inner
        )
    pdf.pages[0].obj.Resources = Dictionary(XObject=Dictionary(X=below))


def unpacked(pdf: pikepdf.Pdf) -> None:
    pdf.Root.Bomb = pdf.make_stream(bytes(100 * MIB))


BOMBS: dict[str, Callable[[], bytes]] = {
    "objects": lambda: document(many_objects),
    "pages": lambda: document(many_pages),
    "forms": lambda: document(nested_forms),
    "Flate": lambda: document(unpacked),
    "XFA": lambda: document(xfa(b"<a>" + bytes(40 * MIB))),
    "brackets": lambda: b"%PDF-1.4\n1 0 obj " + b"[" * 2_000_000,
    "broken objects": lambda: b"%PDF-1.4\n" + b"1 0 obj << /A (" * 300_000,
    "numbers": lambda: b"%PDF-1.4\n1 0 obj (" + b"1" * 4_000_000 + b" ) endobj",
}
"""Made when needed: every process of a run imports this page."""


@pytest.mark.parametrize("kind", BOMBS)
async def test_a_bomb_ends_within_the_time_of_one_document(kind: str, inspector: Inspector) -> None:
    loop, bomb = asyncio.get_running_loop(), BOMBS[kind]()
    begun = loop.time()
    assert await outcome(inspector, bomb) in {"ready", Code.RESOURCE_LIMIT, Code.CORRUPT}
    assert loop.time() - begun < SECONDS


async def test_time_that_is_used_up_ends_as_resource_limit(tmp_path: Path) -> None:
    async with DocumentInspector(tmp_path, seconds=0.2, max_bytes=16 * MIB) as hasty:
        error = await rejected(Inspector(hasty, tmp_path), BOMBS["objects"]())
    assert error.code is Code.RESOURCE_LIMIT


MUTATED = 500


async def test_mutated_documents_end_with_a_code(inspector: Inspector) -> None:
    """The children survive: a crash or a limit that is met would end as `resource_limit`."""
    chance = random.Random(17)  # noqa: S311 - nothing is kept secret by it
    kinds = [
        document(scripted, field(F="AFNumber_Format(2)"), pages=3),
        document(attached("a.exe", b"MZ"), scripted, object_stream_mode=ObjectStreamMode.disable),
        document(encryption=OWNER_ONLY["R4"]),
        document(lambda pdf: pdf.docinfo.__setitem__("/Title", String("x")), linearize=True),
    ]
    for number in range(MUTATED):
        content = bytearray(kinds[number % len(kinds)])
        for _ in range(chance.randint(1, 30)):
            at, size = chance.randrange(len(content)), chance.randint(0, 9)
            content[at : at + size] = chance.randbytes(chance.randint(0, 9))
        assert await outcome(inspector, bytes(content)) in {"ready", Code.CORRUPT, Code.ENCRYPTED}
