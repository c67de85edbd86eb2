"""The scan stage: streams the bound version past clamd, tags it, and says what follows."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from handlers.scan.clamd.pool import ScannerPool
from handlers.scan.clamd.verdict import ScanFinding, read_reply
from handlers.scan.content_policy import require_allowed_content
from handlers.scan.stream_inspector import StreamInspector
from handlers.sniff import sniff
from media.asset import (
    NEXT_STAGE,
    Asset,
    AssetType,
    Rendition,
    Stage,
    StageState,
    Status,
    Verdict,
    attachment,
    output_prefix,
)
from media.asset_store.stages import Claim, Commit, Facts, Note
from media.aws.s3 import ObjectStorage, ServedAs
from media.errors import Code, RejectedError, RetryableError
from media.outbox import Effect, EffectKind
from media.source_check import bound_source, require_bound_version
from media.stage_requests import request
from media.telemetry import Metrics

log = structlog.get_logger(__name__)

CACHE = "private, max-age=31536000, immutable"
"""Every attempt writes under a prefix of its own, so what lies there never changes."""


@dataclass(frozen=True, slots=True)
class ScanPolicy:
    """What is scanned and what becomes of the rest. Sizes in bytes."""

    max_bytes: int
    limits: dict[str, int]
    reencode_unscannable_video: bool
    own_bucket: str
    quarantine_bucket: str | None


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What was found, and by which engine; none when no scanner saw the file."""

    finding: ScanFinding
    engine: str = ""


class ScanHandler:
    """Scans what a claim names. Raises RejectedError, RetryableError, UnavailableError."""

    def __init__(self, storage: ObjectStorage, scanners: ScannerPool, policy: ScanPolicy, metrics: Metrics) -> None:
        self._storage = storage
        self._scanners = scanners
        self._policy = policy
        self._metrics = metrics

    async def __call__(self, claim: Claim) -> Commit:
        asset = claim.asset
        size = await self._size(asset)
        if size > self._policy.max_bytes:
            return await self._too_large(
                asset, size, ScanReport(ScanFinding(Verdict.UNSCANNABLE, Code.TOO_LARGE_TO_SCAN))
            )
        inspector = StreamInspector(asset.asset_type)
        report = await self._scan(asset, size, inspector)
        self._metrics.scanned_bytes.inc(inspector.size)
        if report.finding.code is Code.TOO_LARGE_TO_SCAN:  # clamd's own limit is below our setting
            return await self._too_large(asset, size, report)
        await self._record(asset, report)
        if report.finding.verdict is Verdict.ERROR:
            raise RetryableError(Code.SCANNER_ERROR, report.finding.signature or "the scanner hung up without a reply")
        if report.finding.verdict is Verdict.CLEAN:
            return await self._clean(claim, inspector, size)
        return self._refused(asset, report.finding)

    async def _size(self, asset: Asset) -> int:
        """Bytes of the bound version, which must be there and must not be empty or too large."""
        found = await require_bound_version(self._storage, asset)
        size = found.size or 0
        if size == 0:
            raise RejectedError(Code.EMPTY, "the file has no bytes")
        limit = self._policy.limits[asset.asset_type]
        if size > limit and not asset.recording_id:
            raise RejectedError(Code.TOO_LARGE, f"{size} bytes, at most {limit} are allowed")
        return size

    async def _scan(self, asset: Asset, size: int, inspector: StreamInspector) -> ScanReport:
        """What the scanners say about the bound version; a stream that was cut is nothing to judge by."""

        @asynccontextmanager
        async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
            stored = self._storage.stream(asset.source, etag=asset.etag)
            async with stored as pieces, aclosing(inspector.watch(pieces)) as watched:
                yield watched

        try:
            with bound_source():
                scanned = await self._scanners.scan(opened, size)
        except TimeoutError:
            return ScanReport(ScanFinding(Verdict.ERROR, Code.SCANNER_ERROR, "no verdict within the time for one scan"))
        await inspector.finish()
        finding = read_reply(scanned.reply)
        if finding.verdict is Verdict.CLEAN and inspector.size != size:
            raise RetryableError(Code.STORAGE_ERROR, f"{inspector.size} bytes came, {size} were expected")
        return ScanReport(finding, scanned.engine)

    async def _record(self, asset: Asset, report: ScanReport) -> None:
        """Count the verdict and write it on the version itself; a bucket that is not ours is never touched.

        An error is written too: a tag that was there before the scan must not outlive it.
        """
        self._metrics.scans.labels(report.finding.verdict).inc()
        if asset.bucket != self._policy.own_bucket:
            return
        tags = {
            "scan-status": report.finding.verdict.value.upper(),
            "scan-signature": _tag_value(report.finding.signature),
            "scan-engine": _tag_value(report.engine),
            "scan-at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        with bound_source():
            written = {name: value for name, value in tags.items() if value}
            await self._storage.tag(asset.source, written, ours="scan-")

    async def _too_large(self, asset: Asset, size: int, report: ScanReport) -> Commit:
        """A video may still be re-encoded, if the operator wants that; its original is never served."""
        await self._record(asset, report)
        if asset.asset_type is AssetType.VIDEO and self._policy.reencode_unscannable_video:
            note = Note("unscannable", f"{size} bytes: only re-encoded renditions will be served")
            return _proceed(asset, Stage.TRANSCODE, Facts(size=size), [note])
        raise RejectedError(Code.TOO_LARGE_TO_SCAN, f"{size} bytes are more than the scanner takes")

    async def _clean(self, claim: Claim, inspector: StreamInspector, size: int) -> Commit:
        """The file is safe; now its content must be what it was announced as."""
        asset, sniffed = claim.asset, sniff(inspector.head)
        require_allowed_content(asset.asset_type, sniffed)
        inspector.require_harmless()
        notes = [Note("clean", f"{size} bytes")]
        if sniffed and sniffed != asset.content_type:
            notes.append(Note("content_type", f"announced as {asset.content_type}, is {sniffed}"))
        facts = Facts(content_type=sniffed, size=size, sha256=inspector.sha256)
        stage = NEXT_STAGE[asset.asset_type]
        if stage is None:
            return await self._publish(claim, facts, notes)
        return _proceed(asset, stage, facts, notes)

    async def _publish(self, claim: Claim, facts: Facts, notes: list[Note]) -> Commit:
        """A document is ready as it is: the scanned version is copied to where it is served from, to be saved only."""
        asset, content_type = claim.asset, facts.content_type or claim.asset.content_type
        key = output_prefix(asset, Stage.SCAN, claim.attempt) + "original.pdf"
        headers = ServedAs(content_type, attachment(asset.original_filename, content_type), CACHE)
        with bound_source():
            await self._storage.publish(asset.source, self._policy.own_bucket, key, headers)
        original = Rendition("original", key, content_type, facts.size or 0)
        return Commit(StageState.DONE, Status.READY, facts=facts, renditions=[original], notes=[*notes, Note("ready")])

    def _refused(self, asset: Asset, finding: ScanFinding) -> Commit:
        code = finding.code or Code.UNSCANNABLE
        detail = finding.signature or str(code)
        return Commit(
            StageState.REJECTED,
            Status.REJECTED,
            code=code,
            detail=detail,
            notes=[Note(finding.verdict, finding.signature), Note("rejected", f"{code}: {detail}")],
            effects=self._quarantine(asset) if finding.verdict is Verdict.INFECTED else (),
        )

    def _quarantine(self, asset: Asset) -> list[Effect]:
        if asset.bucket != self._policy.own_bucket or not self._policy.quarantine_bucket:
            return []
        body = {"bucket": asset.bucket, "key": asset.key, "version_id": asset.version_id}
        return [Effect(EffectKind.QUARANTINE, self._policy.quarantine_bucket, body)]


def _proceed(asset: Asset, stage: Stage, facts: Facts, notes: list[Note]) -> Commit:
    """On to the next stage."""
    effects = [request(stage, asset)]
    return Commit(StageState.DONE, Status.PROCESSING, facts=facts, notes=notes, next_stage=stage, effects=effects)


def _tag_value(text: str) -> str:
    """S3 takes letters, digits, spaces and `+ - = . _ : / @` in a tag's value, at most 256."""
    return "".join(c if c.isalnum() or c in " +-=._:/@" else "_" for c in text)[:256].strip()
