"""One inspector for all tests of documents."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from handlers.scan.documents.inspector import DocumentInspector
from handlers.scan.documents.protocol import DocumentReport

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Inspection:
    """What the inspector says of a document, the bytes it wrote, and those that would be served."""

    found: DocumentReport
    written: bytes
    served: bytes

    @property
    def is_rewritten(self) -> bool:
        return self.found.must_serve_written


@dataclass(frozen=True, slots=True)
class Inspector:
    """Has bytes inspected."""

    inspector: DocumentInspector
    folder: Path

    async def inspect(self, content: bytes) -> Inspection:
        """Raises the inspector's errors."""
        source, target = self.folder / "source.pdf", self.folder / "written.pdf"
        source.write_bytes(content)
        target.unlink(missing_ok=True)
        found = await self.inspector.inspect(source, target)
        written = target.read_bytes() if found.written else b""
        return Inspection(found, written, written if found.must_serve_written else content)


@pytest.fixture(scope="session")
async def inspector(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Inspector]:
    folder = tmp_path_factory.mktemp("documents")
    async with DocumentInspector(folder, max_bytes=16 * MIB) as running:
        yield Inspector(running, folder)
