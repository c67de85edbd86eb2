"""Find and repair differences between rows and objects. Each repair may be broken off and repeated."""

import contextlib
import mimetypes
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from uuid import uuid4

from consumer.maintenance.storage_check import Discrepancy, Problem, StorageCheck
from consumer.maintenance.storage_listing import AssetPath, StorageListing, StoredAsset
from handlers.upload import unwanted_upload
from media.asset import DEFAULT_DELIVERY, Asset, AssetType, DeliveryClass, ObjectVersion, Stage
from media.asset_store.assets import AssetStore, Binding, NewAsset, StoredObject
from media.asset_store.recovery import KnownAsset, Recovery, Replays, paths_in_order
from media.aws.s3 import DELIVERY_TAG, MissingObjectError, StoredVersion
from media.errors import Code, UnavailableError
from media.outbox import Effect, EffectKind, Outbox, OutboxRow
from media.stage_endings import EndingRules
from media.stage_requests import request

BATCH = 100
"""Assets whose rows are read at once."""
BATCH_OBJECTS = 20_000
"""Objects in memory beyond which a batch is compared at once. A long film alone may have more."""
CODE = "reconciled"
"""Timeline code of a repair."""


@dataclass(frozen=True, slots=True)
class StorageReconciler:
    """Compares rows with objects, both ways. Every method raises UnavailableError when Postgres or S3 is down."""

    dsn: str
    listing: StorageListing
    check: StorageCheck
    recovery: Recovery
    assets: AssetStore
    replays: Replays
    outbox: Outbox
    rules: EndingRules

    async def compare(self) -> AsyncGenerator[tuple[StoredAsset, Sequence[Discrepancy]]]:
        """Yield every asset that has objects or needs some, with its discrepancies, of which most have none."""
        batch: list[StoredAsset] = []
        async with aclosing(self.listing.assets(paths_in_order(self.dsn))) as listed:
            async for stored in listed:
                batch.append(stored)
                if len(batch) >= BATCH or sum(one.objects for one in batch) >= BATCH_OBJECTS:
                    for found in await self._compare(batch):
                        yield found
                    batch = []
        for found in await self._compare(batch):
            yield found

    async def _compare(self, batch: Sequence[StoredAsset]) -> list[tuple[StoredAsset, Sequence[Discrepancy]]]:
        rows = await self.recovery.get([stored.path.asset_id for stored in batch])
        return [(stored, self.check.compare(stored, rows.get(stored.path.asset_id))) for stored in batch]

    async def repair(self, path: AssetPath) -> list[Discrepancy]:
        """Look at an asset once more and repair what is wrong with it now; return that.

        Raises RetryableError when S3 refuses.
        """
        stored = await self.listing.read(path)
        known = (await self.recovery.get([path.asset_id])).get(path.asset_id)
        discrepancies = self.check.compare(stored, known)
        for discrepancy in discrepancies:
            if known is None:
                await self._repair_unknown(discrepancy.problem, stored)
            else:
                await self._repair_known(discrepancy.problem, stored, known)
        return discrepancies

    async def _repair_unknown(self, problem: Problem, stored: StoredAsset) -> None:
        """Register objects without a row, or remove outputs that belong to nothing."""
        if problem is Problem.UNKNOWN_OUTPUTS:
            for prefix in stored.outputs:
                await self.listing.storage.delete_prefix(self.listing.bucket, prefix)
            return
        version = stored.uploads[-1] if stored.uploads else stored.quarantined
        if version is None:
            return
        delivery, why = await self._delivery_of(stored)
        path, name = stored.path, version.key.rpartition("/")[2]
        new = NewAsset(
            asset_id=path.asset_id,
            owner_id=path.owner_id,
            asset_type=path.asset_type,
            delivery=delivery,
            content_type=mimetypes.guess_type(name)[0] or "application/octet-stream",
            original_filename=name,
            bucket=self.listing.bucket,
            key=version.key,
            trace_id=uuid4().hex,
        )
        asset = await self.assets.create(new) or await self.assets.get(path.asset_id)
        if asset is None:
            return
        await self.assets.note(path.asset_id, CODE, f"{problem}: registered as {asset.delivery}, {why}")
        if problem is Problem.UNKNOWN_UPLOAD:
            await self._bind(asset, stored, version)
        else:
            await self._reject_infected(asset)

    async def _repair_known(self, problem: Problem, stored: StoredAsset, known: KnownAsset) -> None:
        """Repair one problem of an asset that has a row."""
        asset = known.asset
        match problem:
            case Problem.MISSED_UPLOAD:
                first = next(found for found in reversed(stored.uploads) if found.key == asset.key)
                await self.assets.note(asset.asset_id, CODE, problem)
                await self._bind(asset, stored, first)
            case Problem.UNFINISHED:
                await self._reopen(asset, stored, await self.replays.stage_at_fault(asset.asset_id) or Stage.SCAN)
            case Problem.AWAITED:
                await self.recovery.remind_soon(asset.asset_id)
            case Problem.LOST_OUTPUTS:
                await self._reopen(asset, stored, Stage.SCAN)
            case Problem.LATER_VERSIONS:
                for version in self.check.later_versions(stored, asset):
                    if late := unwanted_upload(self._stored(version), Binding.OTHER):
                        note, effects = late.note, late.effects
                        await self.assets.note_late_version(asset.asset_id, note.code, note.detail, effects)
            case Problem.ORPHANED_OUTPUTS:
                bucket, prefixes = self.listing.bucket, self.check.orphaned_outputs(stored, known)
                effects = [Effect(EffectKind.DELETE_PREFIX, bucket, {"prefix": prefix}) for prefix in prefixes]
                await self.assets.note(asset.asset_id, CODE, problem, effects)
            case _:
                await self._end(problem, asset)

    async def _end(self, problem: Problem, asset: Asset) -> None:
        """End an asset that cannot be served any more, or remove what a deleted one left."""
        if problem is Problem.LOST:
            await self.recovery.reject(
                asset.asset_id, Code.SOURCE_MISSING, "its objects are gone", self.rules.withdraw(asset)
            )
        elif problem is Problem.INFECTED:
            await self._reject_infected(asset)
        elif problem in {Problem.GONE, Problem.NOT_REMOVED}:
            effects = self.rules.delete(asset, await self.assets.job_of(asset.asset_id))
            deleted_now = await self.assets.delete(asset.asset_id, effects)
            await self.assets.note(asset.asset_id, CODE, problem, [] if deleted_now else effects)

    async def _delivery_of(self, stored: StoredAsset) -> tuple[DeliveryClass, str]:
        """Tell who may see a file whose row is lost, and how that is known. In doubt, its owner alone."""
        roots = {prefix.partition("/")[0] for prefix in stored.outputs}
        for root, delivery in (("private", DeliveryClass.VERIFICATION_DOCUMENT), ("public", DeliveryClass.PUBLIC)):
            if root in roots:
                return delivery, "as its outputs are"
        if stored.uploads:
            with contextlib.suppress(MissingObjectError):
                version = self._stored(stored.uploads[-1]).version
                tagged = (await self.listing.storage.tags(version)).get(DELIVERY_TAG)
                if tagged in set(DeliveryClass):
                    return DeliveryClass(tagged), "as its tag says"
        if stored.path.asset_type in {AssetType.VIDEO, AssetType.AUDIO}:
            return DEFAULT_DELIVERY[stored.path.asset_type], "the default"
        return DeliveryClass.VERIFICATION_DOCUMENT, "since nothing says who may see it"

    async def _bind(self, asset: Asset, stored: StoredAsset, version: StoredVersion) -> None:
        """Bind an asset to a version, and have it scanned. Attempts go on after those that wrote outputs."""
        found = self._stored(version)
        _, rows = await self.assets.bind(
            asset.asset_id,
            found,
            effects=[request(Stage.SCAN, asset, version=found.version)],
            note=f"{version.size} bytes, found in the bucket",
            notified_at=version.modified_at.timestamp(),
        )
        # Not before: to bind queues the scan, unless that has a row.
        await self.recovery.raise_attempts(asset.asset_id, stored.attempts())
        await self._dispatch(rows)

    async def _reopen(self, asset: Asset, stored: StoredAsset, stage: Stage) -> None:
        """Begin a new round of a stage. Attempts go on after those that wrote outputs."""
        await self.recovery.raise_attempts(asset.asset_id, stored.attempts())
        rows = await self.replays.reopen(asset.asset_id, stage, CODE, [request(stage, asset)], [asset.status])
        await self._dispatch(rows)

    async def _reject_infected(self, asset: Asset) -> None:
        await self.recovery.reject(asset.asset_id, Code.INFECTED, "it lies in quarantine", self.rules.withdraw(asset))

    async def _dispatch(self, rows: Sequence[OutboxRow]) -> None:
        with contextlib.suppress(UnavailableError):  # a consumer sends them later
            await self.outbox.dispatch(rows)

    def _stored(self, version: StoredVersion) -> StoredObject:
        place = ObjectVersion(self.listing.bucket, version.key, version.version_id)
        return StoredObject(place, version.etag, version.size)
