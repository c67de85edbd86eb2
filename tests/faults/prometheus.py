"""A real Prometheus with the real rules at a faster pace: at sixty times, its five minutes are five seconds.

Ranges and waits are divided. Expressions and thresholds stay as they are, except for thresholds in seconds.
"""

import asyncio
import re
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml  # type: ignore[import-untyped] # ships no types

from deploy.local import child
from deploy.local.ports import HOST, free_port
from tests.faults.proxied_services import Daemon

DEPLOYED = Path(__file__).parents[2] / "deploy" / "prometheus"
SCRAPES = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "250ms"}
"""A busy machine could not answer more often."""
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?<=\[)(\d+)([smhd])(?=:?\])|(?<=for: )(\d+)([smhd])")
LOOK_PAUSE = 0.25


@dataclass(frozen=True, slots=True)
class Pace:
    """How many times as fast the rules run, and what the thresholds in seconds, as the rules write them, become."""

    times: int
    seconds: Mapping[str, str]


def speed_up(text: str, pace: Pace) -> str:
    """Divide every range and wait of the rules."""
    for threshold, changed in pace.seconds.items():
        assert threshold in text or "record:" in text, threshold
        text = text.replace(threshold, changed)

    def shortened(match: re.Match[str]) -> str:
        number, unit = [part for part in match.groups() if part]
        return f"{int(number) * _SECONDS[unit] * 1000 // pace.times}ms"

    return _DURATION.sub(shortened, text)


@dataclass(slots=True)
class Prometheus:
    url: str
    http: aiohttp.ClientSession
    began: float = 0.0
    """When it had scraped all targets. Until then, for some seconds, they count as down."""

    async def query(self, expression: str) -> list[dict[str, str]]:
        """Return the labels of each series that an expression finds."""
        async with self.http.get(f"{self.url}/api/v1/query", params={"query": expression}) as answer:
            body: Any = await answer.json()
            assert body["status"] == "success", body
            return [found["metric"] for found in body["data"]["result"]]

    async def until(self, expression: str, deadline: float = 30.0) -> None:
        """Wait until an expression finds something. Raises TimeoutError."""
        async with asyncio.timeout(deadline):
            while not await self.query(expression):  # noqa: ASYNC110 - it is in Prometheus
                await asyncio.sleep(LOOK_PAUSE)

    async def fired(self) -> set[str]:
        """Return the alerts that have fired since it began."""
        since = max(1, int(time.time() - self.began))
        found = await self.query(f'max_over_time(ALERTS{{alertstate="firing"}}[{since}s])')
        return {labels["alertname"] for labels in found}

    async def until_fired(self, *names: str, deadline: float = 60.0) -> None:
        """Wait until all of these have fired. Raises AssertionError with those that have not."""
        missing = set(names)
        try:
            async with asyncio.timeout(deadline):
                while missing := set(names) - await self.fired():  # noqa: ASYNC110 - it is in Prometheus
                    await asyncio.sleep(LOOK_PAUSE)
        except TimeoutError:
            pending = await self.query("ALERTS")
            raise AssertionError(f"never fired: {missing}; there is: {pending}") from None


def _write(folder: Path, targets: Mapping[str, str], pace: Pace) -> Path:
    config = yaml.safe_load((DEPLOYED / "prometheus.yaml").read_text())
    for name in config["rule_files"]:
        (folder / name).write_text(speed_up((DEPLOYED / name).read_text(), pace))
    config["global"] = SCRAPES
    config["scrape_configs"] = [job for job in config["scrape_configs"] if job["job_name"] in targets]
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@asynccontextmanager
async def running_prometheus(folder: Path, consumer: Daemon, api: Daemon, pace: Pace) -> AsyncIterator[Prometheus]:
    """Run Prometheus on these two, at this pace."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed: apt-get install --no-install-recommends prometheus")
    targets = {"media-consumer": f"{HOST}:{consumer.port}", "media-api": f"{HOST}:{api.port}"}
    config = await asyncio.to_thread(_write, folder, targets, pace)
    port = free_port()
    arguments = [f"--config.file={config}", f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address={HOST}:{port}"]
    started = await child.start(
        child.Program("prometheus", [program, *arguments, "--log.level=warn"], child.base_environment(), folder), folder
    )
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
            found = Prometheus(f"http://{HOST}:{port}", http)
            await started.until_ready(lambda: _ready(found))
            # An increase is only found after a first value.
            down = 'ALERTS{alertname=~"Media(Consumer|Api)Down",alertstate="firing"}'
            await found.until(f"count(up == 1) == 2 unless count({down}) > 0")
            found.began = time.time()
            yield found
    finally:
        await started.stop()


async def _ready(prometheus: Prometheus) -> bool:
    try:
        async with prometheus.http.get(f"{prometheus.url}/-/ready") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False
