"""The transcode stage: probes the bound version, plans its renditions, and hands the plan to the engine."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from handlers.transcode.engine import Engine
from handlers.transcode.planning.ladder import plan
from handlers.transcode.probing.prober import Prober
from media.asset_store.stages import Claim, Commit, Fence, FencedRecorder
from media.aws.s3 import ObjectStorage

log = structlog.get_logger(__name__)

PROBE_URL_SECONDS = 900
"""Lifetime of the signed address that ffprobe reads from."""


@dataclass(frozen=True, slots=True)
class TranscodeHandler:
    """Transcodes the asset of a claim. Raises RejectedError, RetryableError, UnavailableError, LeaseLostError."""

    storage: ObjectStorage
    prober: Prober
    engine: Engine
    recorder: Callable[[Fence], FencedRecorder]
    local_engine: Engine
    """The engine for what MediaConvert does not read. It may be the same."""

    async def __call__(self, claim: Claim) -> Commit:
        if resumed := await self.engine.resume(claim):
            return resumed
        asset = claim.asset
        await self.engine.require_source(asset)
        url = await self.storage.presign(asset.source, seconds=PROBE_URL_SECONDS)
        probed = await self.prober.probe(url, asset_type=asset.asset_type)
        planned = plan(probed, asset.asset_type)
        log.info("transcode.planned", plan=str(planned))
        engine = self.local_engine if planned.local else self.engine
        return await engine.make(claim, planned, self.recorder(claim.fence))
