"""Text is harmless, doubtful strings are inspected, and a document needs objects and pages."""

import pytest

from handlers.scan.pdf import PdfWatch
from tests.unit.handlers.scan.documents import PLAIN, inspect, objects


@pytest.mark.parametrize(
    "content",
    [
        b"<< /S /URI /URI (https://developer.mozilla.org/en/docs/Web/JavaScript) >>",
        b"<< /URI(https://clinic.example/Launch)/S/URI >>",
        b"<< /Title(Product/Launch plan 2026) /Subject (how to /Encrypt a disk) >>",
    ],
)
def test_name_in_a_plain_string_is_not_active(content: bytes) -> None:
    for watch in (inspect(PLAIN + content), inspect(objects(content))):
        assert not watch.active
        assert not watch.encrypted
        assert not watch.empty


@pytest.mark.parametrize(
    "content",
    [
        b"<< /S /JavaScript (a) /JS (app.alert(1)) >>",
        b"<< /S/JavaScript(a)/JS 5 0 R >>",
        b"<< /A (\n/S /JavaScript /JS 5 0 R) >>",
        b"<< /A </B(> /S /JavaScript /JS 5 0 R /C(> ) >>",
        b"% /A (\n<< /S /JavaScript >>) ",
        b"<< /A (a\\) /S /JavaScript /B (a) >>",
        b"<< /S /Rendition /JS (app.alert) >>",
        b"<< /S /Rendition /J#53(app.alert) >>",
    ],
)
def test_doubtful_strings_are_inspected(content: bytes) -> None:
    assert inspect(PLAIN + content).active


@pytest.mark.parametrize(
    "content",
    [
        b"%PDF-1.4\nthis is no document at all",
        b"%PDF-1.4 << /Type /Catalog /Pages 2 0 R >>",
        b"%PDF-1.4\n1 0 obj << /A (/Pages) >> endobj",
    ],
)
def test_without_objects_and_pages_it_is_empty(content: bytes) -> None:
    assert inspect(content).empty


@pytest.mark.parametrize("content", [PLAIN, objects(b"<< /Type /Catalog >>")])
def test_pages_are_found_wherever_they_stand(content: bytes) -> None:
    assert not inspect(content).empty


def test_costly_document_times_out() -> None:
    lines = objects(b"\nx\nx\nx\nx\nstream " * 400_000)
    assert not inspect(lines).timed_out, "every line is looked at once"
    watch = PdfWatch(effort=0.0)
    watch.feed(PLAIN)
    assert watch.timed_out
