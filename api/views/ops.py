"""The operator's view: how queues, assets and consumers stand, and dead letters sent back. For role `admin` only."""

import asyncio
from datetime import UTC, datetime

import structlog
from aiohttp import web

from api.dead_letter_service import QueueState
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
    """How the service stands. With dead letters there it may take some seconds: SQS lets nobody look in passing."""
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
        queues=[_queue(state) for state in queues],
        oldest_unfinished=UnfinishedOut.model_validate(oldest) if oldest else None,
        stuck=[StuckOut.model_validate(stage) for stage in stuck],
        consumers=[ConsumerOut.model_validate(consumer) for consumer in consumers],
    )
    return json_response(summary)


async def redrive(request: web.Request) -> web.Response:
    """Send dead letters back to their queue, for some seconds; ask again until it is finished."""
    subject = await _require_admin(request)
    asked = await read_body(request, RedriveRequest)
    done = await service_of(request).dead_letters.redrive(asked.queue, _selection(asked))
    code = asked.group.code if asked.group else None
    log.info("ops.redriven", queue=asked.queue, reason=asked.reason, code=code, moved=done.moved, by=subject)
    return json_response(RedriveOut(queue=asked.queue, moved=done.moved, finished=done.finished))


async def _require_admin(request: web.Request) -> str:
    caller = await caller_of(request)
    if caller.role is not Role.ADMIN:
        raise ProblemError(ProblemCode.ADMIN_ONLY)
    return caller.subject


def _selection(asked: RedriveRequest) -> Selection:
    return Selection(
        asked.reason,
        died_before=asked.died_before.timestamp() if asked.died_before else None,
        group=Reason(asked.group.code, asked.group.reason) if asked.group else None,
    )


def _queue(state: QueueState) -> QueueOut:
    return QueueOut(
        name=state.name,
        backlog=state.depth.visible,
        in_flight=state.depth.in_flight,
        dead=state.dead,
        dead_by_reason=[
            DeadLettersOut.model_validate(group, from_attributes=True) for group in state.reasons.largest_first()
        ],
        dead_looked_at=state.reasons.total,
    )
