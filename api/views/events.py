"""Server-sent events: assets as they change, with heartbeats, and a way to catch up after a break."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from aiohttp import web

from api.auth import Caller
from api.events import Subscription
from api.problems import ProblemCode, ProblemError
from api.schemas import AssetOut, EventsQuery, TicketOut
from api.service import Service, admitted, caller_of, service_of
from api.views.assets import asset_id_of
from api.wire import answer, read_query
from media.asset import Asset
from media.errors import UnavailableError

log = structlog.get_logger(__name__)

HEARTBEAT = 15.0
"""Seconds; below the idle time-out of a load balancer (60 s on AWS)."""
LONGEST = 3600.0
"""Seconds that a stream lasts; whoever comes again shows anew who they are."""
WRITE_DEADLINE = 10.0
"""Seconds for one write: a client that reads nothing is let go."""
OVERLAP = timedelta(seconds=5)
"""Changes may be committed out of order by so much; telling one twice does no harm."""
_EVENT_ID = re.compile(r"[0-9]{1,16}")


async def make_ticket(request: web.Request) -> web.Response:
    """A one-minute ticket for the `ticket` parameter of a stream."""
    caller = await caller_of(request)
    ticket, end = service_of(request).tickets.make(caller, datetime.now(UTC))
    return answer(TicketOut(ticket=ticket, expires_at=end), status=201)


async def asset_events(request: web.Request) -> web.StreamResponse:
    """One asset: as it is now, and whenever it changes."""
    service, query = service_of(request), read_query(request, EventsQuery)
    caller = await _caller(request, service, query)
    asset_id = asset_id_of(request)
    # Subscribed first and read then, so that nothing falls between.
    with service.hub.subscribed(caller, asset_id) as subscription:
        asset = await service.assets.get(asset_id, owner_id=caller.owner_scope)
        if asset is None:
            raise ProblemError(ProblemCode.NOT_FOUND)
        return await _stream(request, service, caller, subscription, [asset])


async def all_events(request: web.Request) -> web.StreamResponse:
    """All assets of the caller, from now on or from Last-Event-ID on."""
    service, query = service_of(request), read_query(request, EventsQuery)
    caller = await _caller(request, service, query)
    since = _since(request.headers.get("Last-Event-ID") or query.last_event_id)
    with service.hub.subscribed(caller, None) as subscription:
        missed: list[Asset] = []
        # Services and admins see everybody's: they list again instead of having all of it replayed.
        if since and caller.owner_scope is not None:
            missed = await service.assets.changed(owner_id=caller.owner_scope, since=since - OVERLAP)
        return await _stream(request, service, caller, subscription, missed)


async def _caller(request: web.Request, service: Service, query: EventsQuery) -> Caller:
    if query.ticket:
        return await admitted(request, service.tickets.caller(query.ticket, datetime.now(UTC)))
    return await caller_of(request)


def _since(event_id: str | None) -> datetime | None:
    """When the event with this id happened; ids are microseconds. What is no id of ours counts as none."""
    if not event_id or not _EVENT_ID.fullmatch(event_id):
        return None
    return datetime.fromtimestamp(int(event_id) / 1_000_000, UTC)


async def _stream(
    request: web.Request, service: Service, caller: Caller, subscription: Subscription, first: Iterable[Asset]
) -> web.StreamResponse:
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    response = web.StreamResponse(headers=headers)
    response.content_type = "text/event-stream"
    await response.prepare(request)
    with service.metrics.streams.track_inprogress():
        try:
            await _send(response, "retry: 3000\n: connected\n\n" + "".join(map(_event, first)))
            async for text in _news(service, caller, subscription):
                await _send(response, text)
        except (ConnectionError, TimeoutError, UnavailableError) as error:
            # The answer has begun, so there is no status left to say it with: the client comes again.
            log.debug("api.stream_ended", error=f"{type(error).__name__}: {error}")
    return response


async def _news(service: Service, caller: Caller, subscription: Subscription) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    end = loop.time() + LONGEST
    while not subscription.ended and loop.time() < end:
        changed = await subscription.wait(HEARTBEAT)
        if not changed:
            yield ": still here\n\n"
        for asset_id in changed:
            yield await _now(service, caller, asset_id)


async def _now(service: Service, caller: Caller, asset_id: UUID) -> str:
    asset = await service.assets.get(asset_id, owner_id=caller.owner_scope)
    return _event(asset) if asset else ""


def _event(asset: Asset) -> str:
    event_id = int(asset.updated_at.timestamp() * 1_000_000)
    return f"event: asset\nid: {event_id}\ndata: {AssetOut.of(asset).model_dump_json()}\n\n"


async def _send(response: web.StreamResponse, text: str) -> None:
    async with asyncio.timeout(WRITE_DEADLINE):
        await response.write(text.encode())
