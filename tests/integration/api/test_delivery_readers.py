"""Readers of an asset see no failure while its delivery changes."""

import asyncio
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import aiohttp
import pytest

from tests.integration.api.conftest import RunningApi
from tests.integration.api.deliveries import Deliveries, entries, fetch
from tests.integration.api.films import film, url_of

DEADLINE = 60.0
"""Seconds for the readers beside a few changes."""


@pytest.fixture
def deliveries(api: RunningApi) -> Deliveries:
    return Deliveries(api)


@dataclass
class Readers:
    """Clients that ask for URLs of a film and use them. `reads` counts what each got, `failures` what they did not."""

    deliveries: Deliveries
    asset_id: str
    http: aiohttp.ClientSession
    reads: list[int]
    failures: list[str] = field(default_factory=list)
    progress: asyncio.Event = field(default_factory=asyncio.Event)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    async def get(self, url: str) -> bytes:
        """Return a body, empty where the file was public: it goes at once, and a reader asks for the URL again."""
        async with self.http.get(url) as answer:
            body = await answer.read()
            if answer.status == 200:
                return body
            if "/public/" not in url and answer.status != 401:
                self.failures.append(f"{url}: {answer.status}")
            return b""

    async def read(self, number: int) -> None:
        """Ask for a URL and use it three times, again and again. Every other reader plays."""
        while not self.is_over.is_set():
            name = ("hls", "mp4")[number % 2]
            link = await url_of(self.deliveries.api, self.asset_id, f"?rendition={name}")
            for _ in range(3):
                body = await self.get(link["url"])
                for entry in entries(body) if name == "hls" else ():
                    rung = await self.get(urljoin(link["url"], entry))
                    body = rung and b"".join([await self.get(segment) for segment in entries(rung)])
                self.reads[number] += bool(body)
                self.progress.set()

    async def play(self, url: str) -> None:
        """Play on with one URL, from before the first change: its playlists lead to where the files are."""
        while not self.is_over.is_set():
            assert await self.get(url), "a playlist is always there"


@pytest.mark.parametrize(
    ("changes", "readers"), [(20, 4), pytest.param(200, 50, marks=pytest.mark.soak)], ids=["few", "many"]
)
async def test_readers_see_no_failure_while_deliveries_change(
    deliveries: Deliveries, changes: int, readers: int
) -> None:
    asset_id = await film(deliveries.api)
    first = (await url_of(deliveries.api, asset_id))["url"]
    async with aiohttp.ClientSession() as http, asyncio.timeout(DEADLINE * changes / 10):
        clients = Readers(deliveries, asset_id, http, [0] * readers)
        tasks = [asyncio.create_task(clients.read(number)) for number in range(readers)]
        tasks.append(asyncio.create_task(clients.play(first)))
        for turn in range(changes):
            done = sum(clients.reads)
            asset = await deliveries.change(asset_id, ("public", "course_video")[turn % 2])
            assert asset.delivery == ("public", "course_video")[turn % 2]
            while await deliveries.outbox.sweep():
                pass
            while sum(clients.reads) < done + readers and not any(task.done() for task in tasks):
                clients.progress.clear()
                await clients.progress.wait()
        clients.is_over.set()
        await asyncio.gather(*tasks)
    assert not clients.failures
    assert min(clients.reads) > 0
    await deliveries.end_urls()
    assert len(await deliveries.keys(asset_id)) == 6


async def test_a_playlist_is_found_when_its_file_moves_under_the_request(
    deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset_id = await film(deliveries.api)
    await deliveries.change(asset_id, "public")
    link, read = await url_of(deliveries.api, asset_id), deliveries.storage.read

    async def read_late(*version: Any, **limits: Any) -> bytes:
        monkeypatch.setattr(deliveries.storage, "read", read)
        await deliveries.change(asset_id, "course_video")
        await deliveries.outbox.sweep()
        return await read(*version, **limits)

    monkeypatch.setattr(deliveries.storage, "read", read_late)
    status, body, _ = await fetch(link["url"])
    assert (status, body.startswith(b"#EXTM3U")) == (200, True)
