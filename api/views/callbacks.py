"""Internal callbacks: verified, then sent to the handlers of the queues through the outbox."""

import structlog
from aiohttp import web

from api.json_io import json_response, parse_body, read_bytes
from api.problems import ProblemCode, ProblemError
from api.schemas.assets import AcceptedOut, ImageCallback
from api.security.callback_signature import Signature
from api.service import Service, service_of
from media.asset import Asset, Stage, Status
from media.contracts import TranscodeProgress
from media.errors import RetryableError, UnavailableError
from media.outbox import Effect, EffectKind
from media.stage_requests import request as request_stage

log = structlog.get_logger(__name__)


async def transcode_callback(request: web.Request) -> web.Response:
    """Accept a transcoder's report on one job, which is handled like its events."""
    service, body = service_of(request), await read_bytes(request)
    signature = _verify(request, service, body)
    progress = parse_body(body, TranscodeProgress)
    asset = await _asset_of(service, progress)
    stage = await service.stages.get(asset.asset_id, Stage.TRANSCODE)
    if stage is None or stage.job_id != progress.job_id:
        raise ProblemError(ProblemCode.JOB_MISMATCH)
    # The envelope of MediaConvert's own events.
    detail = {
        "jobId": progress.job_id,
        "status": progress.status,
        "userMetadata": {"asset_id": str(progress.asset_id), "attempt": str(progress.attempt)},
        "jobProgress": {"jobPercentComplete": progress.percent, "currentPhase": progress.phase},
        "errorCode": progress.error_code,
        "errorMessage": progress.error_message,
    }
    event = {"source": "aws.mediaconvert", "detail-type": "MediaConvert Job State Change", "detail": detail}
    effect = Effect(EffectKind.SEND, "transcode-events", event, group_id=asset.owner_id)
    return await _enqueue(service, asset, effect, signature)


async def image_callback(request: web.Request) -> web.Response:
    """Request the renditions of a picture, in the version that was scanned. Takes no result: ours alone is served."""
    service, body = service_of(request), await read_bytes(request)
    signature = _verify(request, service, body)
    payload = parse_body(body, ImageCallback)
    asset = await _asset_of(service, payload)
    if await service.stages.get(asset.asset_id, Stage.IMAGE) is None or asset.version_id != payload.version_id:
        raise ProblemError(ProblemCode.JOB_MISMATCH)
    return await _enqueue(service, asset, request_stage(Stage.IMAGE, asset), signature)


def _verify(request: web.Request, service: Service, body: bytes) -> Signature:
    """Verify the signature of the body before the body is parsed."""
    if service.callbacks is None:
        raise ProblemError(ProblemCode.NOT_FOUND, "MEDIA_CALLBACK_SECRET is not set")
    return service.callbacks.verify(request.headers.get("X-Media-Signature"), body)


async def _asset_of(service: Service, payload: TranscodeProgress | ImageCallback) -> Asset:
    asset = await service.assets.get(payload.asset_id)
    if asset is None:
        raise ProblemError(ProblemCode.NOT_FOUND)
    if asset.status is Status.DELETED:
        raise ProblemError(ProblemCode.DELETED)
    return asset


async def _enqueue(service: Service, asset: Asset, effect: Effect, signature: Signature) -> web.Response:
    rows = await service.outbox.enqueue_once(
        asset.asset_id, [effect], signature=signature.digest, expires_at=signature.expires_at
    )
    if rows is None:
        raise ProblemError(ProblemCode.SIGNATURE_REPLAYED)
    try:
        await service.outbox.dispatch(rows)
    except (UnavailableError, RetryableError) as error:
        log.warning("api.outbox_left", asset_id=str(asset.asset_id), error=str(error))
    return json_response(AcceptedOut(), status=202)
