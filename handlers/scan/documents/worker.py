"""The code that child processes run: it reads a document, takes out what acts, and writes what is left."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pikepdf
import pypdfium2
from pypdfium2.raw import FPDF_REMOVE_SECURITY

from handlers.scan.documents.actions import Disarmer, simplify
from handlers.scan.documents.info import read_info
from handlers.scan.documents.protocol import DocumentReport, encode_reply
from media.errors import Code, RejectedError

HEADER = b"%PDF-"
UNPACKED = 256 * 1024 * 1024
"""Bytes of one stream that is unpacked to be looked into: objects, scripts, forms. Others stay packed."""
_UNREADABLE = (pikepdf.PdfError, pikepdf.PasswordError, pypdfium2.PdfiumError, RuntimeError, ValueError)
"""Errors for defects of a document: the libraries' own, and what they let through."""
ENCRYPTED = "the document asks for a password: save it without one and send that"
SIGNED = "the document is signed and contains what acts by itself: {}. Print it to PDF and send that"
DAMAGED = "the document is signed and damaged: some reader may find what acts in it. Print it to PDF and send that"
_ALL_READERS_AGREE = re.compile(
    "a common error handled correctly|extraneous whitespace seen before xref|reported number of objects"
    "|treating bad indirect reference|duplicated key /Type;"
)
"""Warnings of qpdf after which every reader finds the same objects and actions."""


def build() -> Callable[[str], str]:
    """Return the worker. The sandbox calls this once per child."""
    pikepdf.settings.set_qpdf_limits(flate_max_memory=UNPACKED, run_length_max_memory=UNPACKED)
    return work


def work(line: str) -> str:
    """Do one job. A document's faults become replies; other errors are the sandbox's to report."""
    source, target = map(Path, json.loads(line))
    try:
        return encode_reply(inspect(source, target))
    except RejectedError as error:
        return encode_reply(error)


def inspect(source: Path, target: Path) -> DocumentReport:
    """Look into a document, and write it to `target` where the upload must not be served or cannot be scanned.

    It is read by qpdf. Where qpdf cannot read it, or would lose pages, PDFium repairs it first. Raises RejectedError.
    """
    pages = _count_pages(source)
    repaired = target.with_name("repaired.pdf")
    fault, is_lossy = "", False
    for repair in (None, "whole", "pages"):
        try:
            if repair is not None:
                _repair(source, repaired, pages_only=repair == "pages")
            report = _inspect_with_qpdf(repaired if repair else source, target, fault)
        except _UNREADABLE as error:
            fault = fault or _first_line(error)
            continue
        if not report.must_serve_written or report.pages >= pages:
            return report
        fault, is_lossy = fault or f"{pages - report.pages} pages are lost in the repair", repair is None
    if is_lossy:  # PDFium could not do better
        return _inspect_with_qpdf(source, target)
    if _asks_for_password(source):
        raise RejectedError(Code.ENCRYPTED, ENCRYPTED)
    raise RejectedError(Code.CORRUPT, f"no reader can open the document: {fault}")


def _inspect_with_qpdf(source: Path, target: Path, fault: str = "") -> DocumentReport:
    """Inspect a file. `fault` says what is wrong with the upload that it was made from.

    Raises PdfError, and RejectedError for what is signed and would have to be rewritten.
    """
    is_repaired = bool(fault)
    with source.open("rb") as file:
        fault = fault or ("" if file.read(len(HEADER)) == HEADER else "bytes before the header")
    with pikepdf.open(source, suppress_warnings=True, inherit_page_attributes=False) as pdf:
        disarmer = Disarmer(pdf)
        disarmer.run()
        warnings = [str(warning) for warning in pdf.get_warnings()]
        is_damaged = is_repaired or not all(map(_ALL_READERS_AGREE.search, warnings))
        fault = fault or next(map(_first_line, warnings), "")
        removed = {str(kind): count for kind, count in sorted(disarmer.removed.items())}
        if disarmer.signed and removed:
            raise RejectedError(Code.ACTIVE_CONTENT, SIGNED.format(", ".join(removed)))
        # Readers repair in different ways: everybody gets what was looked into. A signature would not survive that.
        if disarmer.signed and is_damaged:
            raise RejectedError(Code.ACTIVE_CONTENT, DAMAGED)
        must_rewrite = bool(removed or fault) and not disarmer.signed
        if written := must_rewrite or pdf.is_encrypted or bool(disarmer.attachments):
            for attachment in disarmer.attachments:
                simplify(attachment)
            # Streams stay as they are: to unpack one may take gigabytes.
            packed = pikepdf.StreamDecodeLevel.none
            pdf.save(target, stream_decode_level=packed, fix_metadata_version=False, encryption=False)
        pages = _count_pages(target if written else source) or len(pdf.pages)
        info = read_info(pdf)
    if not pages:
        raise pikepdf.PdfError("it has no pages")
    return DocumentReport(pages, written, must_rewrite, fault if must_rewrite else "", removed, info)


def _repair(source: Path, repaired: Path, *, pages_only: bool) -> None:
    """Have PDFium write a document anew, or copy its pages into a new one, which has no form and no outline."""
    with pypdfium2.PdfDocument(source) as document:
        if not pages_only:
            document.save(repaired, flags=FPDF_REMOVE_SECURITY)
            return
        with pypdfium2.PdfDocument.new() as copy:
            copy.import_pages(document)
            copy.save(repaired)


def _count_pages(path: Path) -> int:
    """Return the pages that PDFium finds; 0 where it cannot open the document."""
    try:
        with pypdfium2.PdfDocument(path) as document:
            return len(document)
    except pypdfium2.PdfiumError:
        return 0


def _asks_for_password(path: Path) -> bool:
    """Tell whether the document is encrypted for others: with a password, or for the owners of certificates."""
    try:
        pikepdf.open(path, suppress_warnings=True).close()
    except pikepdf.PasswordError:
        return True
    except _UNREADABLE as error:
        return "encryption" in str(error).lower()
    return False


def _first_line(error: object) -> str:
    """Return what qpdf says, without the file's path."""
    return str(error).partition("\n")[0].rpartition("source.pdf")[2].strip(" :()")[:200]
