"""The transcode stage: probes the bound version, plans its renditions, submits the job, and lets go of the message."""

import time

import structlog

from handlers.transcode.intent import Intent
from handlers.transcode.ladder import plan
from handlers.transcode.mediaconvert_job import create_job
from handlers.transcode.plan import Plan
from handlers.transcode.probe import Prober
from media.asset import Asset, ObjectVersion, Stage, StageState, Status, output_prefix
from media.asset_store.stages import Claim, Commit, Facts, Note, StageStore
from media.errors import Code, RejectedError, RetryableError
from media.object_storage import ObjectStorage
from media.transcoding import Job, Transcoder

log = structlog.get_logger(__name__)

PROBE_URL_SECONDS = 900
SAME_TOKEN = 50.0
"""Seconds during which the same token yields the same job; MediaConvert promises a minute."""
ABSENT = 300.0
"""Seconds for which a job may be missing from the search before it counts as never submitted."""
SEARCH_AGAIN = 60.0
_DEAD_JOBS = frozenset({"ERROR", "CANCELED"})


class TranscodeHandler:
    """Submits what a claim names. Raises RejectedError, RetryableError, UnavailableError, LeaseLostError."""

    def __init__(
        self,
        storage: ObjectStorage,
        stages: StageStore,
        prober: Prober,
        transcoder: Transcoder,
        *,
        bucket: str,
        role_arn: str,
        queue: str | None,
    ) -> None:
        self._storage = storage
        self._stages = stages
        self._prober = prober
        self._transcoder = transcoder
        self._bucket = bucket
        self._role_arn = role_arn
        self._queue = queue

    async def __call__(self, claim: Claim) -> Commit:
        if claim.plan:
            recovered = await self._recover(claim, Intent.model_validate(claim.plan))
            if recovered:
                return recovered
        intent = await self._intend(claim)
        return _waiting(intent, await self._submit(claim.asset, intent))

    async def _intend(self, claim: Claim) -> Intent:
        """Probe, plan, and write down what is about to be submitted."""
        planned = await self._plan(claim.asset)
        token = f"{claim.asset.asset_id.hex}-{claim.attempt}"
        intent = Intent(attempt=claim.attempt, token=token, at=time.time(), plan=planned)
        await self._stages.intend(claim.fence, intent.as_json())
        return intent

    async def _plan(self, asset: Asset) -> Plan:
        await require_bound(self._storage, asset)
        url = await self._storage.presign(asset.source, seconds=PROBE_URL_SECONDS)
        probed = await self._prober.probe(url, asset_type=asset.asset_type)
        planned = plan(probed, asset.asset_type)
        log.info("transcode.planned", plan=str(planned))
        return planned

    async def _submit(self, asset: Asset, intent: Intent) -> str:
        await require_bound(self._storage, asset)
        request = create_job(
            intent.plan,
            source=asset.source,
            output_bucket=self._bucket,
            output_prefix=output_prefix(asset, Stage.TRANSCODE, intent.attempt),
            role_arn=self._role_arn,
            queue=self._queue,
            asset_id=asset.asset_id,
            attempt=intent.attempt,
            token=intent.token,
        )
        return await self._transcoder.create(request)

    async def _recover(self, claim: Claim, intent: Intent) -> Commit | None:
        """An earlier attempt meant to submit a job and did not say what came of it."""
        age = time.time() - intent.at
        if age < SAME_TOKEN:
            return _waiting(intent, await self._submit(claim.asset, intent))
        source = claim.asset.source
        job = await self._transcoder.find(
            f"s3://{source.bucket}/{source.key}", asset_id=str(claim.asset.asset_id), attempt=intent.attempt
        )
        if job is None and age < ABSENT:
            why = "the job is not to be found yet"
            raise RetryableError(Code.TRANSCODER_ERROR, why, after=SEARCH_AGAIN, counted=False)
        return _waiting(intent, job.job_id) if _alive(job) and job else None


def _alive(job: Job | None) -> bool:
    return job is not None and job.status not in _DEAD_JOBS


async def require_bound(storage: ObjectStorage, asset: Asset) -> None:
    """MediaConvert reads whatever version is current, so the current one must be the one that was scanned.

    Raises RejectedError(source_missing or source_changed).
    """
    current = await storage.head(ObjectVersion(asset.bucket, asset.key))
    if current is None:
        raise RejectedError(Code.SOURCE_MISSING, "the object is not in the bucket any more")
    if current.version.version_id != (asset.version_id or "") or (asset.etag and current.etag != asset.etag):
        raise RejectedError(Code.SOURCE_CHANGED, "the object is not the one that was scanned")


def _waiting(intent: Intent, job_id: str) -> Commit:
    planned = intent.plan
    facts = Facts(duration_ms=planned.duration_ms)
    if planned.source_width and planned.source_height:
        facts = Facts(width=planned.source_width, height=planned.source_height, duration_ms=planned.duration_ms)
    notes = [Note("planned", str(planned)), Note("submitted", job_id)]
    return Commit(StageState.WAITING, Status.PROCESSING, facts=facts, notes=notes, job_id=job_id)
