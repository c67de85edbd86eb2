"""The parts of the embedded stack: clamd finds what it must, Postgres has the schema and a password."""

import base64
import socket
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from deploy.local import clamav
from deploy.local import postgres as postgres_part
from deploy.local.child import PartError
from deploy.local.clamav import EICAR
from media.schema import apply as schema
from tests.conftest import Database, Scanner


def scan(address: str, content: bytes) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(urlsplit(address).path)
        connection.sendall(b"zINSTREAM\0" + len(content).to_bytes(4, "big") + content + bytes(4))
        return connection.recv(1024).decode().rstrip("\0")


def zipped(content: bytes) -> bytes:
    target = BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("inner", content)
    return target.getvalue()


async def test_clamd_finds_eicar_plain_and_zipped(clamd: Scanner) -> None:
    eicar = bytes.fromhex(EICAR)
    assert scan(clamd.address, eicar) == "stream: Eicar-Test-Signature.UNOFFICIAL FOUND"
    assert scan(clamd.address, zipped(eicar)) == "stream: Eicar-Test-Signature.UNOFFICIAL FOUND"
    assert scan(clamd.address, base64.b64encode(eicar)) == "stream: OK"


async def test_clamd_reports_an_encrypted_archive(clamd: Scanner) -> None:
    encrypted = bytearray(zipped(b"x" * 100))
    for header, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[encrypted.index(header) + offset] |= 1
    assert scan(clamd.address, bytes(encrypted)) == "stream: Heuristics.Encrypted.Zip FOUND"


async def test_clamd_reports_an_archive_that_exceeds_its_limits(clamd: Scanner) -> None:
    target = BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for number in range(10_100):  # clamd's MaxFiles is 10,000
            archive.writestr(str(number), b"x")
    assert scan(clamd.address, target.getvalue()).startswith("stream: Heuristics.Limits.Exceeded")


@pytest.mark.parametrize("variables", [{"MEDIA_LOCAL_CLAMAV_DATABASE": "/nonexistent"}])
def test_a_wrong_signature_folder_is_refused(tmp_path: Path, variables: Mapping[str, str]) -> None:
    with pytest.raises(PartError, match="MEDIA_LOCAL_CLAMAV_DATABASE"):
        clamav.find_signatures(tmp_path, variables)


def test_a_given_signature_folder_has_priority(tmp_path: Path) -> None:
    (tmp_path / "own.ndb").write_text("Own:0:*:deadbeef\n")
    found = clamav.find_signatures(tmp_path, {"MEDIA_LOCAL_CLAMAV_DATABASE": str(tmp_path)})
    assert (found.kind, found.folder) == ("given", tmp_path)


async def test_each_test_has_an_empty_database_with_the_schema(postgres: Database) -> None:
    connection = await asyncpg.connect(postgres.dsn)
    try:
        assert await connection.fetchval("SELECT count(*) FROM assets") == 0
        assert await connection.fetchval("SELECT max(version) FROM schema_version") == schema.VERSION
    finally:
        await connection.close()


async def test_postgres_requires_its_password(postgres_server: postgres_part.Postgres) -> None:
    wrong = postgres_part.Postgres(postgres_server.child, postgres_server.port, "wrong")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(wrong.dsn("postgres"))
