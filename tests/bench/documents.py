"""Read a folder of PDFs as the scan stage does: `python -m tests.bench.documents FOLDER`. Needs pdfinfo and qpdf.

Prints how many of the documents that poppler opens without a password would be ready, how many actions are left in
what would be served, and the time. Actions are counted by PDFium and by `qpdf --json`, not by what removes them. clamd
is not asked.
"""

import argparse
import asyncio
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pypdfium2
from pypdfium2 import raw

from handlers.scan.content_policy import require_allowed_content
from handlers.scan.documents.inspector import SECONDS, DocumentInspector
from handlers.sniff import HEAD_BYTES, sniff
from media.asset import AssetType
from media.errors import MediaError

AT_ONCE = 2
LARGEST = 100 * 1024 * 1024
GOAL = 99.5
"""Percent of the documents that poppler opens without a password."""
_HARMLESS = re.compile(
    r"(?:\s|//.*\n|/\*.*?\*/)*(?:AF[A-Z]\w+\(|(?:this\.)?print\(|[\d;]*$)|(?s:.*viewerVersion.*file attachments)"
)
_ACTS = {"/Launch", "/SubmitForm", "/ImportData", "/RichMediaExecute"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one document: `code` is `ready` or why not, `left` the actions in what would be served."""

    path: Path
    poppler: bool
    code: str
    detail: str
    seconds: float
    left: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    rewritten: bool = False


async def read_document(path: Path, inspector: DocumentInspector, scratch: Path, counters: Executor) -> Outcome:
    """Inspect one document, and count what would be left of it."""
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        source, target = Path(name) / "source.pdf", Path(name) / "target.pdf"
        await asyncio.to_thread(shutil.copyfile, path, source)
        poppler = await asyncio.to_thread(opens_in_poppler, source)
        begun = time.perf_counter()
        try:
            require_allowed_content(AssetType.DOCUMENT, await asyncio.to_thread(sniffed, source))
            found = await inspector.inspect(source, target)
        except MediaError as error:
            return Outcome(path, poppler, str(error.code), error.detail, time.perf_counter() - begun)
        seconds = time.perf_counter() - begun
        served = target if found.must_serve_written else source
        left = await asyncio.get_running_loop().run_in_executor(counters, actions_left, served)
        removed, rewritten = tuple(found.removed), found.must_serve_written
        return Outcome(path, poppler, "ready", found.repaired, seconds, left, removed, rewritten)


def sniffed(path: Path) -> str | None:
    with path.open("rb") as file:
        return sniff(file.read(HEAD_BYTES))


def opens_in_poppler(path: Path) -> bool:
    """Tell whether pdfinfo opens a document and finds a page."""
    try:
        done = subprocess.run(["pdfinfo", path], capture_output=True, check=False, timeout=60)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and re.search(rb"(?m)^Pages:\s+[1-9]", done.stdout) is not None


def actions_left(path: Path) -> tuple[str, ...]:
    """Count with both, in a process of its own: PDFium has no threads."""
    return (*actions_by_pdfium(path), *actions_by_qpdf(path))


def actions_by_pdfium(path: Path) -> Iterator[str]:
    """Yield what PDFium would run when a document opens, and links that start programs."""
    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError:
        return
    with document:
        for index in range(raw.FPDFDoc_GetJavaScriptActionCount(document)):
            action = raw.FPDFDoc_GetJavaScriptAction(document, index)
            size = raw.FPDFJavaScriptAction_GetScript(action, None, 0)
            buffer = (raw.FPDF_WCHAR * (size // 2))()
            raw.FPDFJavaScriptAction_GetScript(action, buffer, size)
            script = bytes(buffer).decode("utf-16-le", errors="replace").rstrip("\0")
            raw.FPDFDoc_CloseJavaScriptAction(action)
            if not _HARMLESS.match(script):
                yield f"pdfium: script {script[:60]!r}"
        for number in range(min(len(document), 50)):
            try:
                page = document[number]
            except pypdfium2.PdfiumError:
                continue
            position, link = raw.c_int(0), raw.FPDF_LINK()
            while raw.FPDFLink_Enumerate(page, position, link):
                if raw.FPDFAction_GetType(raw.FPDFLink_GetAction(link)) == raw.PDFACTION_LAUNCH:
                    yield "pdfium: launch"


def actions_by_qpdf(path: Path) -> Iterator[str]:
    """Yield the actions in any object of a document."""
    done = subprocess.run(
        ["qpdf", "--json", "--json-key=qpdf", "--json-stream-data=none", path], capture_output=True, check=False
    )
    try:
        objects = json.loads(done.stdout)["qpdf"][1]
    except (ValueError, KeyError):
        return
    for one in dictionaries(objects):
        if one.get("/S") in _ACTS and one.get("/Type") != "/StructElem":
            yield f"qpdf: {one['/S']}"
        if one.get("/Subtype") == "/RichMedia":
            yield "qpdf: rich media"
        if one.get("/JS") and not _HARMLESS.match(text_of(path, one["/JS"], objects)):
            yield f"qpdf: script {text_of(path, one['/JS'], objects)[:60]!r}"
        forms = one.get("/XFA") or []
        for part in forms if isinstance(forms, list) else [forms]:
            if re.search(r"<(?:\w+:)?(?:script|submit)[\s>]", text_of(path, part, objects)):
                yield "qpdf: script of XFA"


def dictionaries(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from dictionaries(inner)


def text_of(path: Path, value: Any, objects: dict[str, Any]) -> str:
    """Return the text of a string, or of the stream or string that is referred to."""
    if not isinstance(value, str):
        return ""
    target = objects.get(f"obj:{value}", {})
    if "value" in target:
        return text_of(path, target["value"], objects)
    if "stream" not in target:
        return value.removeprefix("u:")
    number = value.removesuffix(" R").replace(" ", ",")
    command: list[str | Path] = ["qpdf", f"--show-object={number}", "--filtered-stream-data", path]
    data = subprocess.run(command, capture_output=True, check=False).stdout
    return data.decode("utf-16" if data[:2] in {b"\xfe\xff", b"\xff\xfe"} else "latin-1", errors="replace")


async def read_files(files: list[Path]) -> list[Outcome]:
    slots = asyncio.Semaphore(AT_ONCE)
    with tempfile.TemporaryDirectory() as scratch, ProcessPoolExecutor(AT_ONCE) as counters:
        async with DocumentInspector(Path(scratch), max_bytes=LARGEST) as inspector:

            async def read(path: Path) -> Outcome:
                async with slots:
                    return await read_document(path, inspector, Path(scratch), counters)

            return await asyncio.gather(*map(read, files))


def report(outcomes: list[Outcome]) -> bool:
    """Print the figures, and return whether the goals are met."""
    opened = [one for one in outcomes if one.poppler]
    ready = [one for one in opened if one.code == "ready"]
    left = [one for one in outcomes if one.left]
    slowest = max(outcomes, key=lambda one: one.seconds)
    share = 100 * len(ready) / max(1, len(opened))
    for one in outcomes:
        if one.left or (one.poppler and one.code != "ready"):
            print(f"{one.path}: {one.code} {one.detail[:150]} {', '.join(one.left)[:150]}")
    print(f"documents         {len(outcomes)}, {len(opened)} open in poppler without a password")
    print(f"ready of those    {len(ready)}, {share:.2f} % (goal {GOAL} %)")
    print(f"all outcomes      {dict(Counter(one.code for one in outcomes).most_common())}")
    print(f"rewritten         {sum(one.rewritten for one in outcomes)}")
    print(f"removed from      {dict(Counter(kind for one in outcomes for kind in one.removed).most_common())}")
    print(f"with actions left {len(left)} (goal 0)")
    print(f"seconds           mean {statistics.mean(one.seconds for one in outcomes):.3f}")
    print(f"slowest           {slowest.seconds:.2f} s of {SECONDS:g}, {slowest.path.name}: {slowest.code}")
    return share >= GOAL and not left


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    folder = arguments.parse_args().folder
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".pdf" and path.is_file())
    sys.exit(not report(asyncio.run(read_files(files))))
