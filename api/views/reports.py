"""The conformance report of an asset's HLS."""

import structlog
from aiohttp import web
from pydantic import ValidationError

from api.json_io import json_response_if_changed
from api.problems import ProblemCode, ProblemError
from api.schemas.assets import ReportOut
from api.service import caller_of, service_of
from api.views.assets import asset_for
from api.views.urls import require_ready
from media.asset import ObjectVersion, report_key
from media.aws.s3 import MissingObjectError

log = structlog.get_logger(__name__)

REPORT_LIMIT = 1024 * 1024
"""Bytes. A finding has some 200, and the checks stop before a stream fills this with findings."""


async def show_report(request: web.Request) -> web.Response:
    """Show the conformance report of a video's or a recording's HLS."""
    asset = await asset_for(request, await caller_of(request))
    require_ready(asset)
    master = next((rendition.key for rendition in asset.renditions if rendition.name == "hls"), None)
    if master is None:
        raise ProblemError(ProblemCode.REPORT_NOT_FOUND)
    service = service_of(request)
    version = ObjectVersion(service.settings.output_bucket, report_key(master))
    try:
        report = ReportOut.model_validate_json(await service.storage.read(version, limit=REPORT_LIMIT))
    except MissingObjectError as error:
        raise ProblemError(ProblemCode.REPORT_NOT_FOUND) from error
    except ValidationError as error:
        log.error("api.report_unusable", asset_id=str(asset.asset_id), error=str(error))  # noqa: TRY400 - no trace needed
        raise ProblemError(ProblemCode.REPORT_UNUSABLE) from error
    return json_response_if_changed(request, report)
