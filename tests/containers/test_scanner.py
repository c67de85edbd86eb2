"""The image of the scanner, with the test's own signatures."""

from pathlib import Path

import pytest

from deploy.local.clamav import EICAR
from tests.containers.conftest import scanner_container

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]


def test_clamd_starts_without_privileges_and_finds_eicar(scanner_image: str, tmp_path: Path) -> None:
    credentials = "/v2/credentials/made-up"
    container = scanner_container(scanner_image, tmp_path, AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=credentials)
    ping = ["clamdscan", "--config-file=/etc/clamav/clamd.conf", "--ping", "20:1"]
    octal = "'" + "".join(f"\\{byte:03o}" for byte in bytes.fromhex(EICAR)) + "'"
    stream = f"printf {octal} | clamdscan --config-file=/etc/clamav/clamd.conf -"
    with container:
        assert container.exec(ping).exit_code == 0
        assert container.exec(["id", "-u"]).output == b"10001\n"
        read = [
            container.exec(["sh", "-c", f"cat /proc/{pid}/environ"])
            for pid in ("1", "$(pidof clamd)", "$(pidof python)")
        ]
        found = container.exec(["sh", "-c", stream])
    assert [(each.exit_code, b"made-up" in each.output) for each in read] == [(1, False), (0, False), (1, False)]
    assert (found.exit_code, b"Eicar-Test-Signature" in found.output) == (1, True)
