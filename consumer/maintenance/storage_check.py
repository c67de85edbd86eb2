"""Compare the row of an asset with its objects, and name what is wrong. Nothing is read or written here."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from consumer.maintenance.storage_listing import AssetPath, StoredAsset
from media.asset import Asset, StageState, Status
from media.asset_store.recovery import KnownAsset
from media.aws.s3 import StoredVersion


class Problem(StrEnum):
    """What can be wrong with an asset. `MEANINGS` says what the repair does about it."""

    UNKNOWN_UPLOAD = "unknown_upload"
    UNKNOWN_INFECTED = "unknown_infected"
    UNKNOWN_OUTPUTS = "unknown_outputs"
    MISSED_UPLOAD = "missed_upload"
    UNFINISHED = "unfinished"
    AWAITED = "awaited"
    LOST_OUTPUTS = "lost_outputs"
    LOST = "lost"
    INFECTED = "infected"
    GONE = "gone"
    LATER_VERSIONS = "later_versions"
    ORPHANED_OUTPUTS = "orphaned_outputs"
    NOT_REMOVED = "not_removed"
    ORIGINAL_GONE = "original_gone"


MEANINGS = {
    Problem.UNKNOWN_UPLOAD: "an upload without a row: it is registered and scanned",
    Problem.UNKNOWN_INFECTED: "a file in quarantine without a row: it is registered as rejected",
    Problem.UNKNOWN_OUTPUTS: "outputs without a row and without an upload: they are removed",
    Problem.MISSED_UPLOAD: "an upload that the database still waits for: it is bound and scanned",
    Problem.UNFINISHED: "work that nobody holds: its stage begins a new round",
    Problem.AWAITED: "work under a lease, or a job: the consumers look once it is over, and not only after ten minutes",
    Problem.LOST_OUTPUTS: "ready, but files that it serves are gone: it is scanned and processed again",
    Problem.LOST: "upload and served files are gone: it is rejected as source_missing",
    Problem.INFECTED: "its file lies in quarantine: it is rejected as infected",
    Problem.GONE: "no object is left: it was deleted, and is again",
    Problem.LATER_VERSIONS: "versions of the upload beside the one that was scanned: they are removed",
    Problem.ORPHANED_OUTPUTS: "outputs of attempts that nothing serves: they are removed",
    Problem.NOT_REMOVED: "objects of a deleted asset: they are removed",
    Problem.ORIGINAL_GONE: "ready and served, but its upload is gone: nothing can be done",
}
_OPEN = frozenset({Status.UPLOADED, Status.SCANNING, Status.PROCESSING})
_MOVED_RECENTLY = timedelta(days=1)
"""Longer than any URL that a change of delivery leaves its old files for."""
_UNBOUND = frozenset({Status.PENDING, Status.EXPIRED})
_ENDED_STAGES = frozenset({StageState.DONE, StageState.REJECTED, StageState.FAILED, StageState.CANCELLED})


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One problem of one asset. `detail` names objects."""

    path: AssetPath
    problem: Problem
    detail: str = ""


@dataclass(frozen=True, slots=True)
class StorageCheck:
    """The comparison for one bucket. What changed at `before` or later is on its way, and is left alone."""

    bucket: str
    before: datetime

    def compare(self, stored: StoredAsset, known: KnownAsset | None) -> list[Discrepancy]:
        """Return what is wrong with an asset, given its objects and its row."""
        if known is None:
            problems = self._compare_unknown(stored)
        elif known.asset.updated_at >= self.before:
            return []
        elif known.asset.status is Status.DELETED:
            problems = iter([] if stored.is_empty else [(Problem.NOT_REMOVED, f"{stored.objects} objects")])
        elif known.asset.status in _UNBOUND:
            problems = self._compare_unbound(stored, known.asset)
        else:
            problems = self._compare_bound(stored, known)
        return [Discrepancy(stored.path, problem, detail) for problem, detail in problems]

    def orphaned_outputs(self, stored: StoredAsset, known: KnownAsset) -> list[str]:
        """Return the prefixes of attempts that nothing serves and whose stage has ended."""
        served = [rendition.key for rendition in known.asset.renditions]
        return [
            prefix
            for prefix, outputs in stored.outputs.items()
            if outputs.newest < self.before
            and not any(key.startswith(prefix) for key in served)
            and ((stage := known.stages.get(outputs.stage)) is None or stage.state in _ENDED_STAGES)
        ]

    def later_versions(self, stored: StoredAsset, asset: Asset) -> list[StoredVersion]:
        """Return the versions in the asset's place that it is not bound to, unless the bound one is gone."""
        if bound_version(stored, asset) is None or not asset.version_id:
            return []
        return [
            found
            for found in stored.uploads
            if found.version_id != asset.version_id and found.modified_at < self.before
        ]

    def _compare_unknown(self, stored: StoredAsset) -> Iterator[tuple[Problem, str]]:
        """Yield the problems of objects without a row, each with a detail."""
        if stored.uploads:
            first = stored.uploads[-1]
            if first.modified_at < self.before:
                yield Problem.UNKNOWN_UPLOAD, first.key
        elif stored.quarantined:
            yield Problem.UNKNOWN_INFECTED, stored.quarantined.key
        elif stored.outputs and all(outputs.newest < self.before for outputs in stored.outputs.values()):
            yield Problem.UNKNOWN_OUTPUTS, ", ".join(stored.outputs)

    def _compare_unbound(self, stored: StoredAsset, asset: Asset) -> Iterator[tuple[Problem, str]]:
        """Yield the problems of an asset whose upload the database waits for, or has given up."""
        first = next((found for found in reversed(stored.uploads) if found.key == asset.key), None)
        if first:
            if first.modified_at < self.before:
                yield Problem.MISSED_UPLOAD, first.key
        elif stored.quarantined:
            yield Problem.INFECTED, stored.quarantined.key

    def _compare_bound(self, stored: StoredAsset, known: KnownAsset) -> Iterator[tuple[Problem, str]]:
        """Yield the problems of an asset that is bound to a version."""
        asset, is_ready = known.asset, known.asset.status is Status.READY
        # A recording's original lies in a bucket of the webinar service, which is not listed.
        has_source = asset.bucket != self.bucket or bound_version(stored, asset) is not None
        missing = [rendition.key for rendition in asset.renditions if rendition.key not in stored.current]
        has_newer_outputs = any(
            attempt > (known.stages[stage].attempt if stage in known.stages else 0)
            for stage, attempt in stored.attempts().items()
        )
        is_redriven = asset.status is Status.FAILED and has_source and has_newer_outputs
        if asset.status in _OPEN:
            if any(
                stage.is_held or (stage.state is StageState.WAITING and has_source) for stage in known.stages.values()
            ):
                yield Problem.AWAITED, ""
            else:
                yield (Problem.UNFINISHED, "") if has_source else _unservable(stored, asset)
        elif is_ready and missing:
            # A deletion leaves nothing, and a recording's original is not ours to delete.
            rescan = has_source and not stored.is_empty
            yield (Problem.LOST_OUTPUTS, ", ".join(missing)) if rescan else _unservable(stored, asset)
        elif is_ready and not has_source:
            yield Problem.ORIGINAL_GONE, asset.key
        elif is_redriven:
            yield Problem.UNFINISHED, "attempts that the database does not know wrote outputs"
        if later := self.later_versions(stored, asset):
            yield Problem.LATER_VERSIONS, f"{len(later)} beside {asset.version_id}"
        # A change of delivery is writing, or left what its old URLs still lead to.
        is_moved = bool(asset.delivery_changes) and asset.updated_at > self.before - _MOVED_RECENTLY
        is_ended = asset.status not in _OPEN and not is_redriven and asset.pending_delivery is None and not is_moved
        if is_ended and (orphaned := self.orphaned_outputs(stored, known)):
            yield Problem.ORPHANED_OUTPUTS, ", ".join(orphaned)


def _unservable(stored: StoredAsset, asset: Asset) -> tuple[Problem, str]:
    """Name the problem of an asset that has no source and cannot be served."""
    if stored.quarantined:
        return Problem.INFECTED, stored.quarantined.key
    return (Problem.GONE, "") if stored.is_empty else (Problem.LOST, asset.key)


def bound_version(stored: StoredAsset, asset: Asset) -> StoredVersion | None:
    """Return the version that the asset is bound to, if it is there. Never another one."""
    for found in stored.uploads:
        same = found.key == asset.key and found.version_id == (asset.version_id or "")
        if same and (asset.etag is None or found.etag == asset.etag):
            return found
    return None
