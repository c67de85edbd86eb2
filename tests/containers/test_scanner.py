"""The image of the scanner, with the test's own signatures."""

from pathlib import Path

import pytest

from deploy.local.clamav import EICAR, write_test_signatures
from tests.containers.conftest import locked_down_container

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]


def test_clamd_starts_without_privileges_and_finds_eicar(scanner_image: str, tmp_path: Path) -> None:
    """Begin with what lies in the volume: there is no bucket, and nobody answers for the mirror."""
    tmp_path.chmod(0o755)
    folder = write_test_signatures(tmp_path / "signatures").folder
    folder.chmod(0o777)
    env = {
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/made-up",
        "MEDIA_SIGNATURES_MIRROR": "http://127.0.0.1:9",
    }
    container = locked_down_container(scanner_image, [], env).with_volume_mapping(str(folder), "/var/lib/clamav", "rw")
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
