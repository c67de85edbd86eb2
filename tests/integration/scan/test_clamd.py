"""A real clamd: the client agrees with others, and neither a crash nor clamd's defaults give a clean verdict."""

import asyncio
import base64
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path

import clamd as package
import pytest

from deploy.local import child, clamav
from deploy.local.child import Program
from deploy.local.clamav import EICAR
from handlers.scan.clamd.client import Clamd
from handlers.scan.clamd.instream import Address, instream
from handlers.scan.clamd.self_test import encrypted, source_of, too_deep
from handlers.scan.clamd.verdict import read_reply
from media.asset import Verdict
from media.errors import Code, UnavailableError
from tests.conftest import Scanner
from tests.integration.scan.conftest import CORPUS

LARGE = bytes(32 << 20)
SLOW = "many-small-flate-streams.pdf.gz"
"""A file of the corpus that clamd unpacks for many seconds, each of three times."""


def files() -> list[Path]:
    """List files of the corpus that are small enough to be scanned three times, and that clamd reads in a moment."""
    found = sorted(path for path in CORPUS.glob("*/**/*") if path.is_file() and path.stat().st_size < 1 << 20)
    found = [path for path in found if path.name != SLOW]
    return found[:: max(1, len(found) // 60)] + sorted((CORPUS / "malware").glob("*"))


async def test_findings_agree_with_the_clamd_package_and_clamdscan(clamd: Scanner, tmp_path: Path) -> None:
    if not files():
        pytest.skip("the shared corpus is not beside the repository")
    ours, theirs = Clamd(Address.parse(clamd.address)), package.ClamdUnixSocket(clamd.address.removeprefix("unix://"))
    program = shutil.which("clamdscan")
    configuration = tmp_path / "clamd.conf"
    configuration.write_text(f"LocalSocket {clamd.address.removeprefix('unix://')}\n")
    for path in files():
        content = path.read_bytes()
        content = base64.b64decode(content) if path.suffix == ".b64" else content
        reply = await ours.scan(source_of(content), len(content))
        status, signature = theirs.instream(BytesIO(content))["stream"]
        finding = read_reply(reply)
        assert (finding.verdict is Verdict.CLEAN) == (status == "OK"), path
        assert finding.signature == (signature or ""), path
        if program:
            (tmp_path / "file").write_bytes(content)
            command = [program, "--stream", f"--config-file={configuration}", str(tmp_path / "file")]
            scanned = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
            async with asyncio.timeout(30):
                assert (await scanned.wait() == 0) == (status == "OK"), path


async def test_findings_do_not_depend_on_how_a_file_is_handed_over(clamd: Scanner, tmp_path: Path) -> None:
    address = Address.parse(clamd.address)
    by_descriptor = Clamd(address, scratch=tmp_path, largest=len(LARGE))
    assert await by_descriptor.scratch_for(len(LARGE))
    for content in (bytes.fromhex(EICAR), too_deep(), encrypted(), b"harmless", LARGE):
        streamed = read_reply(await instream(address, source_of(content)))
        assert read_reply(await by_descriptor.scan(source_of(content), len(content))) == streamed


@asynccontextmanager
async def _own(folder: Path, **options: object) -> AsyncIterator[child.Child]:
    """Run a clamd for one test, on `folder`/own.sock, with Debian's configuration and these options."""
    signatures = clamav.write_test_signatures(folder / "own-signatures")
    chosen = {"Foreground": "yes", "DatabaseDirectory": signatures.folder, "LocalSocket": folder / "own.sock"} | options
    configuration = folder / "own.conf"
    configuration.write_text("".join(f"{name} {value}\n" for name, value in chosen.items()))
    program = shutil.which("clamd") or shutil.which("clamd", path="/usr/sbin:/usr/local/sbin") or "clamd"
    started = await child.start(
        Program("own-clamd", [program, f"--config-file={configuration}"], child.base_environment(), folder), folder
    )
    try:
        await started.until_ready(lambda: _answers(Clamd(Address(path=str(folder / "own.sock")))), 60)
        yield started
    finally:
        await started.stop()


async def _answers(clamd: Clamd) -> bool:
    try:
        await clamd.refresh()
    except UnavailableError:
        return False
    return True


async def test_killed_mid_stream_is_not_clean(tmp_path: Path) -> None:
    async with _own(tmp_path, AlertExceedsMax="yes", StreamMaxLength="100M") as own:
        clamd = Clamd(Address(path=str(tmp_path / "own.sock")))
        await clamd.verify()

        async def pieces() -> AsyncIterator[bytes]:
            yield LARGE
            os.kill(own.pid, signal.SIGKILL)
            yield LARGE

        @asynccontextmanager
        async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
            yield pieces()

        reply = await clamd.scan(opened, 2 * len(LARGE))
        assert read_reply(reply).verdict is Verdict.ERROR
        with pytest.raises(UnavailableError):
            await clamd.scan(source_of(b"next"), 4)


async def test_clamd_with_default_settings_is_not_used(tmp_path: Path) -> None:
    """With `AlertExceedsMax no` clamd calls a file clean that it has not scanned completely."""
    async with _own(tmp_path):
        clamd = Clamd(Address(path=str(tmp_path / "own.sock")))
        with pytest.raises(UnavailableError, match="AlertExceedsMax yes"):
            await clamd.scan(source_of(b"harmless"), 8)
        assert not await clamd.alerts_encrypted()


async def test_stream_limit_is_found_and_its_reply_read(tmp_path: Path) -> None:
    async with _own(tmp_path, AlertExceedsMax="yes", AlertEncryptedArchive="yes", StreamMaxLength="20M"):
        clamd = Clamd(Address(path=str(tmp_path / "own.sock")))
        assert await clamd.accepts(20 << 20)
        assert not await clamd.accepts((20 << 20) + 1)
        assert await clamd.alerts_encrypted()
        for one in (clamd, Clamd(clamd.address, scratch=tmp_path, largest=len(LARGE))):
            finding = read_reply(await one.scan(source_of(LARGE), len(LARGE)))
            assert finding.code is Code.TOO_LARGE_TO_SCAN
