"""The scan stage: streams the bound version past clamd, tags it, and says what follows."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from handlers.scan.admission import admit
from handlers.scan.clamd import Clamd
from handlers.scan.pdf import PdfWatch
from handlers.scan.verdict import Finding, finding_of
from handlers.sniff import HEAD_BYTES, sniff
from media.asset import NEXT_STAGE, Asset, AssetType, Rendition, Stage, StageState, Status, Verdict
from media.asset_store.stages import Claim, Commit, Facts, Note
from media.contracts import ImageRequested, TranscodeRequested
from media.errors import Code, RejectedError, RetryableError
from media.object_storage import MissingObjectError, ObjectStorage
from media.outbox import Effect, EffectKind
from media.telemetry import Metrics

log = structlog.get_logger(__name__)

_NEXT_QUEUE = {Stage.IMAGE: "images", Stage.TRANSCODE: "transcodes"}


@dataclass(frozen=True, slots=True)
class ScanPolicy:
    """What is scanned and what becomes of the rest. Sizes in bytes."""

    max_bytes: int
    limits: dict[str, int]
    reencode_unscannable_video: bool
    own_bucket: str
    quarantine_bucket: str | None


class Witness:
    """Sees every byte on its way to the scanner: size, digest, first bytes, and a PDF's dangerous names."""

    def __init__(self, asset_type: AssetType) -> None:
        self.size = 0
        self.head = b""
        self.pdf = PdfWatch() if asset_type is AssetType.DOCUMENT else None
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    async def watch(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for piece in pieces:
            self.size += len(piece)
            self._digest.update(piece)
            if len(self.head) < HEAD_BYTES:
                self.head += piece[: HEAD_BYTES - len(self.head)]
            if self.pdf:
                self.pdf.feed(piece)
            yield piece


class ScanHandler:
    """Scans what a claim names. Raises RejectedError, RetryableError, UnavailableError."""

    def __init__(self, storage: ObjectStorage, clamd: Clamd, policy: ScanPolicy, metrics: Metrics) -> None:
        self._storage = storage
        self._clamd = clamd
        self._policy = policy
        self._metrics = metrics

    async def __call__(self, claim: Claim) -> Commit:
        asset = claim.asset
        size = await self._size(asset)
        if size > self._policy.max_bytes:
            return await self._unscannable(asset, size)
        witness = Witness(asset.asset_type)
        finding = await self._scan(asset, witness)
        self._metrics.scans.labels(finding.verdict).inc()
        self._metrics.scanned_bytes.inc(witness.size)
        if finding.verdict is Verdict.ERROR:
            raise RetryableError(Code.SCANNER_ERROR, finding.signature or "the scanner hung up without a reply")
        await self._tag(asset, finding)
        if finding.verdict is Verdict.CLEAN:
            return _clean(asset, witness, size)
        return self._refused(asset, finding)

    async def _size(self, asset: Asset) -> int:
        """Bytes of the bound version, which must be there and must not be empty or too large."""
        found = await self._storage.head(asset.source)
        if found is None or found.size is None:
            raise RejectedError(Code.SOURCE_MISSING, "the uploaded version is not in the bucket any more")
        if asset.etag and found.etag != asset.etag:
            raise RejectedError(Code.SOURCE_CHANGED, "the object is not the one that was bound")
        if found.size == 0:
            raise RejectedError(Code.EMPTY, "the file has no bytes")
        limit = self._policy.limits[asset.asset_type]
        if found.size > limit and not asset.recording_id:
            raise RejectedError(Code.TOO_LARGE, f"{found.size} bytes, at most {limit} are allowed")
        return found.size

    async def _scan(self, asset: Asset, witness: Witness) -> Finding:
        try:
            async with self._storage.stream(asset.source) as pieces:
                return finding_of(await self._clamd.scan(witness.watch(pieces)))
        except MissingObjectError as error:
            raise RejectedError(Code.SOURCE_MISSING, str(error)) from error
        except TimeoutError as error:
            raise RetryableError(Code.SCANNER_ERROR, "no verdict within the time for one scan") from error

    async def _tag(self, asset: Asset, finding: Finding) -> None:
        """Write the verdict on the version itself; a bucket that is not ours is never touched."""
        if asset.bucket != self._policy.own_bucket:
            return
        tags = {
            "scan-status": finding.verdict.value.upper(),
            "scan-signature": _tag_value(finding.signature),
            "scan-engine": _tag_value(await self._clamd.version()),
            "scan-at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        try:
            await self._storage.tag(asset.source, {name: value for name, value in tags.items() if value})
        except MissingObjectError as error:
            raise RejectedError(Code.SOURCE_MISSING, str(error)) from error

    async def _unscannable(self, asset: Asset, size: int) -> Commit:
        finding = Finding(Verdict.UNSCANNABLE, Code.TOO_LARGE_TO_SCAN)
        self._metrics.scans.labels(finding.verdict).inc()
        await self._tag(asset, finding)
        if asset.asset_type is AssetType.VIDEO and self._policy.reencode_unscannable_video:
            note = Note("unscannable", f"{size} bytes: only re-encoded renditions will be served")
            return _proceed(asset, Facts(size=size), [note])
        raise RejectedError(Code.TOO_LARGE_TO_SCAN, f"{size} bytes, the scanner takes {self._policy.max_bytes}")

    def _refused(self, asset: Asset, finding: Finding) -> Commit:
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


def _clean(asset: Asset, witness: Witness, size: int) -> Commit:
    """The file is safe; now its content must be what it was announced as."""
    if witness.size != size:
        raise RetryableError(Code.STORAGE_ERROR, f"{witness.size} bytes came, {size} were expected")
    sniffed = sniff(witness.head)
    admit(asset.asset_type, sniffed)
    if witness.pdf and witness.pdf.encrypted:
        raise RejectedError(Code.ENCRYPTED, "the document is encrypted")
    if witness.pdf and witness.pdf.active:
        raise RejectedError(Code.ACTIVE_CONTENT, "the document contains scripts")
    notes = [Note("clean", f"{size} bytes")]
    if sniffed and sniffed != asset.content_type:
        notes.append(Note("content_type", f"announced as {asset.content_type}, is {sniffed}"))
    return _proceed(asset, Facts(content_type=sniffed, size=size, sha256=witness.sha256), notes)


def _proceed(asset: Asset, facts: Facts, notes: list[Note]) -> Commit:
    """On to the next stage; a document is ready as it is."""
    stage = NEXT_STAGE[asset.asset_type]
    if stage is None:
        original = Rendition("original", asset.key, facts.content_type or asset.content_type, facts.size or 0)
        notes = [*notes, Note("ready")]
        return Commit(StageState.DONE, Status.READY, facts=facts, renditions=[original], notes=notes)
    message = (ImageRequested if stage is Stage.IMAGE else TranscodeRequested)(
        asset_id=asset.asset_id,
        bucket=asset.bucket,
        key=asset.key,
        version_id=asset.version_id or "",
        trace_id=str(structlog.contextvars.get_contextvars().get("trace_id", "")),
    )
    effect = Effect.send(_NEXT_QUEUE[stage], message, owner_id=asset.owner_id)
    return Commit(StageState.DONE, Status.PROCESSING, facts=facts, notes=notes, next_stage=stage, effects=[effect])


def _tag_value(text: str) -> str:
    """S3 takes letters, digits, spaces and `+ - = . _ : / @` in a tag's value, at most 256."""
    return "".join(c if c.isalnum() or c in " +-=._:/@" else "_" for c in text)[:256].strip()
