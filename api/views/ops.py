"""The operator's view: the state of queues, assets and consumers, and redriving dead letters. For role `admin`."""

import asyncio
from datetime import UTC, datetime

import structlog
from aiohttp import web

from api.json_io import json_response, read_body
from api.problems import ProblemCode, ProblemError
from api.schemas.ops import (
    ConsumerOut,
    DeadLettersOut,
    OpsSummary,
    QueueOut,
    RedriveOut,
    RedriveRequest,
    StuckOut,
    UnfinishedOut,
)
from api.security.auth import Role
from api.service import caller_of, service_of
from media.dead_letters.dead_letter import Reason, Selection

log = structlog.get_logger(__name__)


async def show_summary(request: web.Request) -> web.Response:
    """Show the state of the service. With dead letters it may take seconds: they are received to be counted."""
    await _require_admin(request)
    service = service_of(request)
    queues, oldest, stuck, consumers = await asyncio.gather(
        service.dead_letters.states(),
        service.operations.oldest(),
        service.operations.stuck(),
        service.operations.consumers(),
    )
    summary = OpsSummary(
        at=datetime.now(UTC),
        queues=[
            QueueOut(
                name=queue.name,
                backlog=queue.depth.visible,
                in_flight=queue.depth.in_flight,
                dead=queue.dead,
                dead_by_reason=[
                    DeadLettersOut.model_validate(group, from_attributes=True)
                    for group in queue.reasons.largest_first()
                ],
                dead_looked_at=queue.reasons.total,
            )
            for queue in queues
        ],
        oldest_unfinished=UnfinishedOut.model_validate(oldest) if oldest else None,
        stuck=[StuckOut.model_validate(stage) for stage in stuck],
        consumers=[ConsumerOut.model_validate(consumer) for consumer in consumers],
    )
    return json_response(summary)


async def redrive(request: web.Request) -> web.Response:
    """Send dead letters back to their queue, for some seconds. Repeat until it is finished."""
    subject = await _require_admin(request)
    payload = await read_body(request, RedriveRequest)
    selection = Selection(
        payload.reason,
        died_before=payload.died_before.timestamp() if payload.died_before else None,
        group=Reason(payload.group.code, payload.group.reason) if payload.group else None,
    )
    done = await service_of(request).dead_letters.redrive(payload.queue, selection)
    code = payload.group.code if payload.group else None
    log.info("ops.redriven", queue=payload.queue, reason=payload.reason, code=code, moved=done.moved, by=subject)
    return json_response(RedriveOut(queue=payload.queue, moved=done.moved, finished=done.finished))


async def _require_admin(request: web.Request) -> str:
    caller = await caller_of(request)
    if caller.role is not Role.ADMIN:
        raise ProblemError(ProblemCode.ADMIN_ONLY)
    return caller.subject
