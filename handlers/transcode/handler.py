"""The transcode stage: probes the bound version, plans its renditions, and hands the plan to the engine."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from handlers.transcode.engine import Engine
from handlers.transcode.planning.ladder import plan
from handlers.transcode.planning.plan import Plan
from handlers.transcode.probing.prober import Prober
from media.asset import Asset
from media.asset_store.stages import Claim, Commit, Fence, FencedRecorder
from media.aws.s3 import ObjectStorage

log = structlog.get_logger(__name__)

PROBE_URL_SECONDS = 900


@dataclass(frozen=True, slots=True)
class TranscodeHandler:
    """Works on what a claim names. Raises RejectedError, RetryableError, UnavailableError, LeaseLostError."""

    storage: ObjectStorage
    prober: Prober
    engine: Engine
    recorder: Callable[[Fence], FencedRecorder]

    async def __call__(self, claim: Claim) -> Commit:
        if resumed := await self.engine.resume(claim):
            return resumed
        return await self.engine.make(claim, await self._plan(claim.asset), self.recorder(claim.fence))

    async def _plan(self, asset: Asset) -> Plan:
        await self.engine.require_source(asset)
        url = await self.storage.presign(asset.source, seconds=PROBE_URL_SECONDS)
        probed = await self.prober.probe(url, asset_type=asset.asset_type)
        planned = plan(probed, asset.asset_type)
        log.info("transcode.planned", plan=str(planned))
        return planned
