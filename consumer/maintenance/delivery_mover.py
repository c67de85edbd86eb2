"""Changes how assets are delivered: copies their files to where the new delivery has them, then switches in one commit.

Every daemon does, from rows of the outbox that no other sweep takes: the copies of a long film may take minutes. A
change that is interrupted goes on with the files that are missing yet. Until the switch all URLs lead to the old files.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from consumer.queue.part_health import PartHealth
from media.asset import (
    TERMINAL,
    Asset,
    DeliveryClass,
    Status,
    attempt_prefix,
    moved_key,
    stored_cache_control,
)
from media.asset_store.assets import AssetStore, DeliveryChangeEnd
from media.asset_store.database import Database
from media.aws.s3 import DELIVERY_TAG, MissingObjectError, ObjectStorage
from media.errors import Code, RetryableError
from media.outbox import EffectKind, Outbox, OutboxRow
from media.stage_endings import EndingRules

log = structlog.get_logger(__name__)

POLL_INTERVAL = 1.0
"""Seconds between two looks for changes."""
MOST_FILES = 100_000
"""Files of one attempt. Eight hours of video in five sizes and segments of six seconds are some 30,000."""


class HopelessChangeError(Exception):
    """The change cannot be made, however often it is tried."""


@dataclass
class DeliveryMover:
    """Carries out changes of delivery. `rules` name the bucket of outputs, `storage` is what holds it."""

    database: Database
    assets: AssetStore
    storage: ObjectStorage
    rules: EndingRules
    health: PartHealth = field(default_factory=lambda: PartHealth("delivery mover"))

    def __post_init__(self) -> None:
        self.outbox = Outbox(self.database, {EffectKind.CHANGE_DELIVERY: self.dispatch})

    async def run(self) -> None:
        """Change deliveries until canceled."""
        while True:
            try:
                while await self.outbox.sweep(limit=1):
                    pass
                self.health.succeeded()
            except Exception as error:
                if self.health.failed(error):
                    log.exception("deliveries.unforeseen")
                else:
                    log.warning("deliveries.failed", error=str(error))
            await asyncio.sleep(POLL_INTERVAL)

    async def dispatch(self, rows: Sequence[OutboxRow]) -> None:
        """Bring changes to their ends. Raises RetryableError when one must wait."""
        for row in rows:
            async with self.outbox.hold(row):
                await self.change(row)

    async def change(self, row: OutboxRow) -> None:
        """Bring one change to its end, whatever became of the asset meanwhile. Raises RetryableError."""
        number, keep = int(row.effect.body["number"]), float(row.effect.body["keep"])
        asset = await self.assets.get(row.asset_id)
        if asset is None or await self._is_over(asset, number):
            return
        delivery = asset.pending_delivery
        if asset.status is not Status.READY or delivery is None:
            raise RetryableError(Code.STORAGE_ERROR, f"the asset is {asset.status}: its delivery changes afterwards")
        try:
            await self.copy_files(asset, delivery)
            end = self.rules.change_delivery(asset, delivery, keep)
        except HopelessChangeError as error:
            log.warning("deliveries.given_up", asset_id=str(asset.asset_id), error=str(error))
            end = self.rules.keep_delivery(asset, delivery, str(error))
        if await self.assets.end_delivery_change(asset.asset_id, number, end):
            return
        again = await self.assets.get(row.asset_id)
        if again is not None and not await self._is_over(again, number):
            raise RetryableError(Code.STORAGE_ERROR, "the asset changed while its files were copied")

    async def _is_over(self, asset: Asset, number: int) -> bool:
        """Say whether nothing is left to do, and remove the copies of an asset that was deleted or the like."""
        if asset.status is Status.READY or asset.status not in TERMINAL:
            return asset.pending_delivery is None or asset.delivery_changes != number
        await self.assets.end_delivery_change(asset.asset_id, number, DeliveryChangeEnd(reason=asset.status))
        # Its own files are removed by others. Only the copies can have come after that.
        for place in self.rules.output_places(asset):
            files = await self.storage.list(self.rules.output_bucket, place, limit=MOST_FILES)
            for prefix in {attempt_prefix(file.key) for file in files}:
                if prefix.endswith(f"-m{number}/"):
                    await self.storage.delete_prefix(self.rules.output_bucket, prefix)
        return True

    async def copy_files(self, asset: Asset, delivery: DeliveryClass) -> None:
        """Copy what is not there yet. Raises HopelessChangeError when a file that is served is gone."""
        bucket, change = self.rules.output_bucket, asset.delivery_changes
        served = {rendition.key for rendition in asset.renditions}
        awaited = {key for key in served if moved_key(key, delivery, change) != key}
        left: dict[str, str] = {}
        for prefix in sorted(set(map(attempt_prefix, awaited))):
            listed = await self.storage.list(bucket, prefix, limit=MOST_FILES + 1)
            if len(listed) > MOST_FILES:
                raise HopelessChangeError(f"{prefix} has more than {MOST_FILES} files")
            copied = await self.storage.list(bucket, moved_key(prefix, delivery, change), limit=MOST_FILES + 1)
            there = {(file.key, file.size) for file in copied}
            for file in listed:
                awaited.discard(file.key)
                target = moved_key(file.key, delivery, change)
                if (target, file.size) not in there:
                    left[file.key] = target
        if awaited:
            raise HopelessChangeError(f"{min(awaited)} is gone")
        try:
            await self.storage.copy_all(bucket, left, cache=stored_cache_control(delivery))
        except MissingObjectError as error:
            # A file was lost, or the asset was deleted: the next try sees which.
            raise RetryableError(Code.STORAGE_ERROR, str(error)) from error
        if asset.bucket == bucket:
            with contextlib.suppress(MissingObjectError):
                await self.storage.tag(asset.source, {DELIVERY_TAG: delivery}, ours=DELIVERY_TAG)
