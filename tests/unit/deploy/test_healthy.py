"""The health check of the containers uses the address of the service."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from consumer.health import Health
from deploy import healthy
from deploy.local.ports import free_port
from media.settings import Settings
from media.telemetry import Metrics

PROGRAM = Path(healthy.__file__)


@pytest.mark.parametrize("hosts", [",::", " , ::", "[::]"])
def test_empty_hosts_and_brackets_are_no_addresses(monkeypatch: pytest.MonkeyPatch, hosts: str) -> None:
    monkeypatch.setenv("MEDIA_CONSUMER_HOST", hosts)
    monkeypatch.delenv("MEDIA_CONSUMER_PORT", raising=False)
    assert healthy.address("consumer") == "http://[::1]:8006/livez"


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


ALL = "0.0.0.0"  # noqa: S104 - for a moment, in a test
HOSTS = {ALL: ["127.0.0.1"], "127.0.0.1": ["127.0.0.1"], " 127.0.0.2 , 127.0.0.1 ": ["127.0.0.1", "127.0.0.2"]}
if has_ipv6():
    HOSTS |= {hosts: ["127.0.0.1", "::1"] for hosts in ("::", f"{ALL},::", f"::,{ALL}", "::1,127.0.0.1")}
    HOSTS["::1"] = ["::1"]


@asynccontextmanager
async def serving(hosts: str, port: int = 0) -> AsyncIterator[int]:
    async def nothing_missing() -> list[str]:
        return []

    async with Health([], nothing_missing, Metrics(CollectorRegistry())).serve(hosts, port) as found:
        yield found


async def status(name: str, **env: str) -> int:
    """Return the exit status of the health check, in a container with a proxy for outgoing requests."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", PROGRAM, name, env={"HTTP_PROXY": "http://127.0.0.1:9"} | env
    )
    async with asyncio.timeout(20):
        return await process.wait()


@pytest.mark.parametrize(("hosts", "reached"), HOSTS.items())
async def test_the_check_uses_the_configured_address(hosts: str, reached: list[str]) -> None:
    async with serving(hosts) as port:
        for address in reached:
            _, writer = await asyncio.open_connection(address, port)
            writer.close()
        assert await status("consumer", MEDIA_CONSUMER_HOST=hosts, MEDIA_CONSUMER_PORT=f"{port}\n") == 0
    assert await status("consumer", MEDIA_CONSUMER_HOST=hosts, MEDIA_CONSUMER_PORT=str(port)) == 1


async def test_a_port_that_is_busy_on_one_host_is_refused() -> None:
    port = free_port()
    async with serving("127.0.0.1", port):
        with pytest.raises(OSError, match="in use"):
            async with serving("127.0.0.2,127.0.0.1", port):
                pass
    async with serving("127.0.0.2", port):
        pass


@pytest.mark.parametrize("name", ["consumer", "api"])
def test_without_settings_the_check_uses_the_default_address(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for setting in ("HOST", "PORT"):
        monkeypatch.delenv(f"MEDIA_{name.upper()}_{setting}", raising=False)
    assert Settings.model_fields[f"{name}_host"].get_default() == ALL
    port = Settings.model_fields[f"{name}_port"].get_default()
    assert healthy.address(name) == f"http://127.0.0.1:{port}/livez"
