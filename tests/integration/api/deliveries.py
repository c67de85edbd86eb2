"""Changes of delivery beside a running API, carried out as a consumer does, and clients of the files."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import Mock
from urllib.parse import urljoin
from uuid import UUID

import aiohttp

from consumer.maintenance.delivery_mover import DeliveryMover
from consumer.stages.outbox_effects import OutboxEffects
from media.asset import Asset
from media.cdn.invalidations import Invalidations
from media.outbox import EffectKind, Outbox
from media.stage_endings import EndingRules
from tests.integration.api.conftest import MEDIA, RunningApi


class Cache:
    """Caches of a CDN that remember which paths they dropped."""

    def __init__(self) -> None:
        self.dropped: list[str] = []

    async def invalidate(self, paths: Sequence[str], _reference: str) -> None:
        self.dropped += paths


@dataclass
class Deliveries:
    """What a consumer does about deliveries, beside a running API."""

    api: RunningApi
    cache: Cache = field(default_factory=Cache)

    def __post_init__(self) -> None:
        service = self.api.service
        self.database, self.storage, self.assets = service.database, service.storage, service.assets
        self.bucket = service.settings.output_bucket
        self.rules = EndingRules(self.bucket, 5)
        self.mover = DeliveryMover(self.database, self.assets, self.storage, self.rules)
        invalidations = Invalidations(self.database, self.cache)
        own = frozenset({self.bucket})
        effects = OutboxEffects(Mock(), self.storage, Mock(), self.assets, own, invalidations).dispatchers()
        kinds = (EffectKind.DELETE_PREFIX, EffectKind.DELETE_KEY, EffectKind.INVALIDATE)
        self.outbox = Outbox(self.database, {kind: effects[kind] for kind in kinds})

    async def ask(self, asset_id: str, delivery: Any, role: str = "service") -> tuple[int, Any]:
        path = f"{MEDIA}/assets/{asset_id}"
        return await self.api.call("PATCH", path, json={"delivery": delivery}, claims={"role": role})

    async def change(self, asset_id: str, delivery: str) -> Asset:
        """Ask for a change and carry it out."""
        status, asset = await self.ask(asset_id, delivery)
        assert status == 200, asset
        assert await self.mover.outbox.sweep(limit=1) == 1
        return await self.asset(asset_id)

    async def asset(self, asset_id: str) -> Asset:
        asset = await self.assets.get(UUID(asset_id))
        assert asset
        return asset

    async def end_urls(self) -> None:
        """Let the time pass until the last URL of what waits for it has ended, and remove that."""
        await self.database.execute("UPDATE outbox SET due_at = now()")
        while await self.outbox.sweep():
            pass

    async def keys(self, asset_id: str) -> list[str]:
        """Return the keys of an asset's outputs."""
        places = self.rules.output_places(await self.asset(asset_id))
        return [file.key for place in places for file in await self.storage.list(self.bucket, place)]

    async def codes(self, asset_id: str) -> list[str]:
        return [entry.code for entry in await self.assets.timeline(UUID(asset_id))]


async def fetch(url: str) -> tuple[int, bytes, Any]:
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return answer.status, await answer.read(), answer.headers


def entries(playlist: bytes) -> list[str]:
    """List what a playlist leads to."""
    return [line for line in playlist.decode().splitlines() if line and not line.startswith("#")]


async def segments(master: str) -> set[bytes]:
    """Play a film's first size: fetch its playlists and what they name. Return the bodies of the files."""
    status, body, _ = await fetch(master)
    assert status == 200, body
    rung = urljoin(master, entries(body)[0])
    status, body, _ = await fetch(rung)
    assert status == 200, body
    maps = [line for line in body.decode().splitlines() if 'URI="' in line]
    names = [*entries(body), *(line.split('URI="')[1].split('"')[0] for line in maps)]
    answers = [await fetch(urljoin(rung, name)) for name in names]
    assert {status for status, _, _ in answers} == {200}, answers
    return {body for _, body, _ in answers}
