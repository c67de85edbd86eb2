"""The operator's view: the state of queues, assets and consumers, and what to do with dead letters. For `admin`."""

import asyncio
from datetime import UTC, datetime

import structlog
from aiohttp import web

from api.json_io import json_response, read_body, read_query
from api.problems import ProblemCode, ProblemError
from api.schemas.ops import (
    BODY_SHOWN,
    ConsumerOut,
    DeadLetterListing,
    DeadLetterOut,
    DeadLetterQuery,
    DeadLettersOut,
    DiscardOut,
    DiscardRequest,
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
    log.info("ops.redriven", queue=payload.queue, reason=payload.reason, code=code, moved=done.count, by=subject)
    return json_response(RedriveOut(queue=payload.queue, moved=done.count, finished=done.finished))


async def list_dead_letters(request: web.Request) -> web.Response:
    """Show dead letters of one group as they are. Each is held for a moment, so that others do not see it."""
    await _require_admin(request)
    query = read_query(request, DeadLetterQuery)
    selection = Selection(group=Reason(query.code, query.reason))
    found = await service_of(request).dead_letters.read(query.queue, selection, query.limit)
    items = [
        DeadLetterOut(
            message_id=dead_letter.received.message_id,
            code=dead_letter.error,
            reason=dead_letter.reason,
            first_received_at=datetime.fromtimestamp(dead_letter.first_received, UTC),
            died_at=datetime.fromtimestamp(dead_letter.died, UTC),
            owner_id=dead_letter.received.group_id or "",
            body=dead_letter.received.body[:BODY_SHOWN],
            body_length=len(dead_letter.received.body),
        )
        for dead_letter in found
    ]
    return json_response(DeadLetterListing(items=items))


async def discard(request: web.Request) -> web.Response:
    """Delete the dead letters of one group for good, for some seconds. Repeat until it is finished."""
    subject = await _require_admin(request)
    payload = await read_body(request, DiscardRequest)
    group = Reason(payload.group.code, payload.group.reason)
    selection = Selection(died_before=payload.died_before.timestamp(), group=group)
    done = await service_of(request).dead_letters.discard(payload.queue, selection)
    log.info("ops.discarded", queue=payload.queue, code=group.code, discarded=done.count, by=subject)
    return json_response(DiscardOut(queue=payload.queue, discarded=done.count, finished=done.finished))


async def _require_admin(request: web.Request) -> str:
    caller = await caller_of(request)
    if caller.role is not Role.ADMIN:
        raise ProblemError(ProblemCode.ADMIN_ONLY)
    return caller.subject
