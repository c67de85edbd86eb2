"""Builds PDF documents for the tests, and inspects them."""

import zlib

from handlers.scan.pdf import PdfWatch

PLAIN = b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\ntrailer << /Root 1 0 R >>\n%%EOF\n"


def inspect(content: bytes, step: int = 256 * 1024) -> PdfWatch:
    """Feed a document in pieces of `step` bytes."""
    watch = PdfWatch()
    for start in range(0, len(content), step):
        watch.feed(content[start : start + step])
    return watch


def stream(dictionary: bytes, data: bytes, line: bytes = b"\n") -> bytes:
    return b"7 0 obj\n<< %s /Length %d >>\nstream%s%s\nendstream\nendobj\n" % (dictionary, len(data), line, data)


def objects(text: bytes, dictionary: bytes = b"/Type /ObjStm /N 1 /First 5 /Filter /FlateDecode") -> bytes:
    """A document with `text` in a compressed object stream."""
    return PLAIN + stream(dictionary, zlib.compress(b"11 0 " + text))
