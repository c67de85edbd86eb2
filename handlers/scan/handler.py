"""The scan stage: stream the bound version to clamd, tag it, and choose the next stage."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import structlog

from handlers.held_pictures import HeldPictures
from handlers.scan.clamd.instream import CHUNK, Source
from handlers.scan.clamd.pool import ScannerPool
from handlers.scan.clamd.verdict import ScanFinding, read_reply
from handlers.scan.content_policy import require_allowed_content
from handlers.scan.documents.inspector import ROOM, DocumentInspector
from handlers.scan.stream_inspector import StreamInspector
from handlers.scratch import scratch_folder
from handlers.sniff import sniff
from media.asset import (
    NEXT_STAGE,
    Asset,
    AssetNote,
    AssetType,
    Rendition,
    Stage,
    StageState,
    Status,
    Verdict,
    attachment,
    output_prefix,
    stored_cache_control,
)
from media.asset_store.stages import Claim, Commit, Facts, Note
from media.aws.s3 import DELIVERY_TAG, ObjectStorage, ServedAs
from media.aws.s3_transfer import ObjectTransfer
from media.errors import Code, RejectedError, RetryableError
from media.outbox import Effect, EffectKind
from media.source_check import reject_missing_source, require_bound_version
from media.stage_requests import request
from media.telemetry import Metrics

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ScanPolicy:
    """The limits of a scan, the buckets, and whether unscannable videos are transcoded. Sizes are bytes."""

    max_bytes: int
    limits: dict[str, int]
    reencode_unscannable_video: bool
    own_bucket: str
    quarantine_bucket: str | None


@dataclass(frozen=True, slots=True)
class DocumentTools:
    """What documents need beside the scanner: the inspector, the upload of what it wrote, and a folder to work in."""

    inspector: DocumentInspector
    transfer: ObjectTransfer
    scratch: Path


@dataclass(frozen=True, slots=True)
class ScanReport:
    """The finding and the engine that made it; no engine when the file was not scanned."""

    finding: ScanFinding
    engine: str = ""


class ScanHandler:
    """Scans the file of a claim. Raises RejectedError, RetryableError, UnavailableError."""

    def __init__(
        self,
        storage: ObjectStorage,
        scanners: ScannerPool,
        policy: ScanPolicy,
        metrics: Metrics,
        documents: DocumentTools,
        pictures: HeldPictures,
    ) -> None:
        self._storage = storage
        self._scanners = scanners
        self._policy = policy
        self._metrics = metrics
        self._documents = documents
        self._pictures = pictures

    async def __call__(self, claim: Claim) -> Commit:
        size = await self._check_size(claim.asset)
        if claim.asset.asset_type is not AssetType.DOCUMENT:
            return await self._judge(claim, size, None)
        async with scratch_folder("document-", self._documents.scratch, room=ROOM * size) as folder:
            return await self._judge(claim, size, folder / "source.pdf")

    async def _judge(self, claim: Claim, size: int, copy: Path | None) -> Commit:
        """Scan the bound version, while its bytes are written to `copy`, and commit what follows from the verdict."""
        asset = claim.asset
        if size > self._policy.max_bytes:
            return await self._too_large(
                asset, size, ScanReport(ScanFinding(Verdict.UNSCANNABLE, Code.TOO_LARGE_TO_SCAN))
            )
        inspector = StreamInspector(asset.asset_type, copy)
        report = await self._scan(asset, size, inspector)
        self._metrics.scanned_bytes.inc(inspector.size)
        if report.finding.code is Code.TOO_LARGE_TO_SCAN:  # clamd's own limit is below our setting
            return await self._too_large(asset, size, report)
        if (rejection := await self._conclude(asset, report)) is not None:
            return rejection
        return await self._accept(claim, inspector, size, copy)

    async def _conclude(self, asset: Asset, report: ScanReport) -> Commit | None:
        """Record a verdict, and commit a rejection that follows. Raises RetryableError for a scan without a verdict."""
        await self._record(asset, report)
        if report.finding.verdict is Verdict.ERROR:
            raise RetryableError(Code.SCANNER_ERROR, report.finding.signature or "the scanner hung up without a reply")
        return None if report.finding.verdict is Verdict.CLEAN else self._reject(asset, report.finding)

    async def _check_size(self, asset: Asset) -> int:
        """Return the bytes of the bound version. Raises when it is empty or too large, or known to be missing.

        S3 told the size with the ETag, and the GET asks for that ETag: a HEAD before it would tell no more.
        """
        size = asset.size if asset.etag and asset.size else (await require_bound_version(self._storage, asset)).size
        if not size:
            raise RejectedError(Code.EMPTY, "the file has no bytes")
        limit = self._policy.limits[asset.asset_type]
        if size > limit and not asset.recording_id:
            raise RejectedError(Code.TOO_LARGE, f"{size} bytes, at most {limit} are allowed")
        return size

    async def _scan(self, asset: Asset, size: int, inspector: StreamInspector) -> ScanReport:
        """Have the bound version scanned. Raises RetryableError for a clean verdict on a stream that was cut off."""

        @asynccontextmanager
        async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
            stored = self._storage.stream(asset.source, etag=asset.etag)
            async with stored as pieces, aclosing(inspector.inspect(pieces)) as inspected:
                yield inspected

        try:
            with reject_missing_source():
                report = await self._ask_scanners(opened, size)
        finally:
            await inspector.finish()
        if report.finding.verdict is Verdict.CLEAN and inspector.size != size:
            raise RetryableError(Code.STORAGE_ERROR, f"{inspector.size} bytes came, {size} were expected")
        return report

    async def _ask_scanners(self, source: Source, size: int) -> ScanReport:
        try:
            scanned = await self._scanners.scan(source, size)
        except TimeoutError:
            return ScanReport(ScanFinding(Verdict.ERROR, Code.SCANNER_ERROR, "no verdict within the time for one scan"))
        return ScanReport(read_reply(scanned.reply), scanned.engine)

    async def _record(self, asset: Asset, report: ScanReport) -> None:
        """Count the verdict and tag the version with it. A bucket of others is never changed.

        An error is tagged, too: a tag from before the scan must not survive it.
        """
        self._metrics.scans.labels(report.finding.verdict).inc()
        if asset.bucket != self._policy.own_bucket:
            return
        tags = {
            "scan-status": report.finding.verdict.value.upper(),
            "scan-signature": _tag_value(report.finding.signature),
            "scan-engine": _tag_value(report.engine),
            "scan-at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            DELIVERY_TAG: asset.delivery,
        }
        with reject_missing_source():
            written = {name: value for name, value in tags.items() if value}
            await self._storage.tag(asset.source, written, ours="scan-")

    async def _too_large(self, asset: Asset, size: int, report: ScanReport) -> Commit:
        """Transcode a video if the operator allows it; raise RejectedError for every other file.

        The original of such a video is never served.
        """
        await self._record(asset, report)
        if asset.asset_type is AssetType.VIDEO and self._policy.reencode_unscannable_video:
            note = Note("unscannable", f"{size} bytes: only re-encoded renditions will be served")
            return _proceed(asset, Stage.TRANSCODE, Facts(size=size), [note])
        raise RejectedError(Code.TOO_LARGE_TO_SCAN, f"{size} bytes are more than the scanner takes")

    async def _accept(self, claim: Claim, inspector: StreamInspector, size: int, copy: Path | None) -> Commit:
        """Check that the content is allowed, store a document as it will be served, and request the next stage."""
        asset, sniffed = claim.asset, sniff(inspector.head)
        require_allowed_content(asset.asset_type, sniffed)
        notes = [Note("clean", f"{size} bytes")]
        if sniffed and sniffed != asset.content_type:
            notes.append(Note("content_type", f"announced as {asset.content_type}, is {sniffed}"))
        facts = Facts(content_type=sniffed, size=size, sha256=inspector.sha256)
        if inspector.picture is not None:
            self._pictures.put(asset.asset_id, inspector.picture)
        stage = NEXT_STAGE[asset.asset_type]
        if copy is None:  # only a document's bytes are kept, to be looked into
            return _proceed(asset, stage, facts, notes)
        target = copy.with_name("written.pdf")
        found = await self._documents.inspector.inspect(copy, target)
        if found.written:  # clamd does not see through encryption, and has not seen what was rewritten
            written = (await asyncio.to_thread(target.stat)).st_size
            report = await self._ask_scanners(_reader(target), written)
            if (rejection := await self._conclude(asset, report)) is not None:
                return rejection
        original = await self._publish(claim, target if found.must_serve_written else None, size)
        removed = ", ".join(f"{kind} ({count})" for kind, count in found.removed.items())
        notes += [Note("actions_removed", removed)] if removed else []
        notes += [Note("repaired", found.repaired)] if found.repaired else []
        asset_notes = [AssetNote("actions_removed", f"Taken out: {removed}")] if removed else []
        facts = replace(facts, page_count=found.pages, document_info=found.info, notes=asset_notes)
        return replace(_proceed(asset, stage, facts, notes), renditions=[original])

    async def _publish(self, claim: Claim, rewritten: Path | None, size: int) -> Rendition:
        """Store a document under the prefix of this attempt. Browsers save the copy and never show it."""
        asset, content_type = claim.asset, "application/pdf"
        key = output_prefix(asset, Stage.SCAN, claim.attempt) + "original.pdf"
        disposition = attachment(asset.original_filename, content_type)
        headers = ServedAs(content_type, disposition, stored_cache_control(asset.delivery))
        if rewritten is not None:
            size = (await asyncio.to_thread(rewritten.stat)).st_size
            await self._documents.transfer.upload(self._policy.own_bucket, key, rewritten, headers)
        else:
            with reject_missing_source():
                await self._storage.publish(asset.source, self._policy.own_bucket, key, headers)
        return Rendition("original", key, content_type, size)

    def _reject(self, asset: Asset, finding: ScanFinding) -> Commit:
        """Reject a file that is infected or cannot be scanned. An infected one of ours goes to quarantine."""
        effects = []
        is_ours = asset.bucket == self._policy.own_bucket
        if finding.verdict is Verdict.INFECTED and is_ours and self._policy.quarantine_bucket:
            body = {"bucket": asset.bucket, "key": asset.key, "version_id": asset.version_id}
            effects.append(Effect(EffectKind.QUARANTINE, self._policy.quarantine_bucket, body))
        code = finding.code or Code.UNSCANNABLE
        detail = finding.signature or str(code)
        return Commit(
            StageState.REJECTED,
            Status.REJECTED,
            code=code,
            detail=detail,
            notes=[Note(finding.verdict, finding.signature), Note("rejected", f"{code}: {detail}")],
            effects=effects,
        )


def _proceed(asset: Asset, stage: Stage, facts: Facts, notes: list[Note]) -> Commit:
    """Commit the scan as done and request the next stage."""
    effects = [request(stage, asset)]
    return Commit(StageState.DONE, Status.PROCESSING, facts=facts, notes=notes, next_stage=stage, effects=effects)


def _reader(path: Path) -> Source:
    """Return a file as a source to scan."""

    async def pieces() -> AsyncGenerator[bytes]:
        with path.open("rb") as file:
            while piece := await asyncio.to_thread(file.read, CHUNK):
                yield piece

    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
        async with aclosing(pieces()) as read:
            yield read

    return opened


def _tag_value(text: str) -> str:
    """Return text that S3 takes as a tag's value: letters, digits, spaces and `+ - = . _ : / @`, at most 256."""
    return "".join(c if c.isalnum() or c in " +-=._:/@" else "_" for c in text)[:256].strip()
