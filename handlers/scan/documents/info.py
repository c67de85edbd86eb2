"""Reads what a document says of itself: the information dictionary of its trailer."""

from datetime import UTC

import pikepdf
from pikepdf.models.metadata import decode_pdf_date

from handlers.scan.documents.protocol import INFO_LIMIT
from media.asset import DocumentInfo


def read_info(pdf: pikepdf.Pdf) -> DocumentInfo | None:
    """Return title, author and times, or None where the document has none of them. Odd values are left out."""
    entries = pdf.trailer.get("/Info")
    if not isinstance(entries, pikepdf.Dictionary):
        return None
    info = DocumentInfo(
        title=_text(entries.get("/Title")),
        author=_text(entries.get("/Author")),
        created=_time(entries.get("/CreationDate")),
        modified=_time(entries.get("/ModDate")),
    )
    return None if info == DocumentInfo() else info


def _text(value: object) -> str | None:
    if not isinstance(value, pikepdf.String):
        return None
    try:
        decoded = str(value)
    except ValueError:  # bytes that are no text
        return None
    return "".join(c for c in decoded[: 4 * INFO_LIMIT] if c.isprintable()).strip()[:INFO_LIMIT] or None


def _time(value: object) -> str | None:
    text = _text(value)
    try:
        moment = decode_pdf_date(text) if text else None
        # A time without a zone is of a zone that nobody knows.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat() if moment else None
    except (ValueError, OverflowError):
        return None
