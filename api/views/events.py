"""Server-sent events: assets as they change, with heartbeats, and catching up after a break."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from aiohttp import web

from api.event_hub import Subscription
from api.json_io import json_response, read_query
from api.problems import ProblemCode, ProblemError
from api.schemas.assets import EventsQuery, TicketOut
from api.security.auth import Caller
from api.server.connection_limits import connection_of
from api.service import Service, admitted, caller_of, service_of
from api.views.assets import asset_id_of, public_asset
from media.asset import Asset
from media.asset_store.listing import PAGE_LIMIT
from media.errors import UnavailableError

log = structlog.get_logger(__name__)

HEARTBEAT = 15.0
"""Seconds between two comments, below the idle timeout of a load balancer (60 s on AWS)."""
MAX_DURATION = 3600.0
"""Seconds that a stream lasts. Clients that reconnect authenticate again."""
OVERLAP = timedelta(seconds=5)
"""Changes may be committed out of order by this much. Sending one twice is harmless."""
CATCH_UP_PAGES = 10
"""Pages of assets that are sent after a break. A client that missed more is told to list again."""
RESET = "event: reset\ndata: {}\n\n"
_EVENT_ID = re.compile(r"[0-9]{1,16}")


async def make_ticket(request: web.Request) -> web.Response:
    """Make a one-minute ticket for the `ticket` parameter of a stream."""
    caller = await caller_of(request)
    ticket, end = service_of(request).tickets.make(caller, datetime.now(UTC))
    return json_response(TicketOut(ticket=ticket, expires_at=end), status=201)


async def asset_events(request: web.Request) -> web.StreamResponse:
    """Stream one asset: as it is now, and whenever it changes."""
    service, query = service_of(request), read_query(request, EventsQuery)
    caller = await _caller(request, service, query)
    asset_id = asset_id_of(request)
    # Subscribe before reading, so that no change is missed in between.
    with service.hub.subscribed(caller, asset_id) as subscription:
        await service.hub.ready()
        asset = await service.assets.get(asset_id, owner_id=caller.owner_scope)
        if asset is None:
            raise ProblemError(ProblemCode.NOT_FOUND)
        return await _stream(request, service, caller, subscription, _first(asset, caller))


async def all_events(request: web.Request) -> web.StreamResponse:
    """Stream all assets of the caller, from now on or from Last-Event-ID on."""
    service, query = service_of(request), read_query(request, EventsQuery)
    caller = await _caller(request, service, query)
    last_event_id = request.headers.get("Last-Event-ID") or query.last_event_id
    with service.hub.subscribed(caller, None) as subscription:
        await service.hub.ready()
        return await _stream(request, service, caller, subscription, _missed(service, caller, last_event_id))


async def _caller(request: web.Request, service: Service, query: EventsQuery) -> Caller:
    if query.ticket:
        return await admitted(request, service.tickets.caller(query.ticket, datetime.now(UTC)))
    return await caller_of(request)


async def _first(asset: Asset, caller: Caller) -> AsyncIterator[str]:
    yield _event(asset, caller)


async def _missed(service: Service, caller: Caller, last_event_id: str | None) -> AsyncIterator[str]:
    """Yield what changed since that event, in order and page by page, or RESET where that would be too much."""
    if not last_event_id or not _EVENT_ID.fullmatch(last_event_id):
        return
    since = datetime.fromtimestamp(int(last_event_id) / 1_000_000, UTC)  # ids are microseconds
    if caller.owner_scope is not None:  # services and admins see all assets
        after = (since - OVERLAP, UUID(int=0))
        for _ in range(CATCH_UP_PAGES):
            page = await service.assets.list_changed(owner_id=caller.owner_scope, after=after)
            yield "".join(_event(asset, caller) for asset in page)
            if len(page) < PAGE_LIMIT:
                return
            after = (page[-1].updated_at, page[-1].asset_id)
    yield RESET


async def _stream(
    request: web.Request,
    service: Service,
    caller: Caller,
    subscription: Subscription,
    first: AsyncIterator[str],
) -> web.StreamResponse:
    """Send `first` and then every change. Return when the connection is gone: until then it counts as open."""
    connection = connection_of(request)
    connection.close()  # takes no further request: none would be answered
    connection.when_gone(subscription.end)
    response = web.StreamResponse(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    response.content_type = "text/event-stream"
    response.force_close()
    await response.prepare(request)
    with service.metrics.streams.track_inprogress():
        try:
            async with asyncio.timeout(min(MAX_DURATION, caller.until - time.time())):
                await _send(request, response, "retry: 3000\n: connected\n\n")
                for texts in (first, _changes(service, caller, subscription)):
                    async for text in texts:
                        await _send(request, response, text)
        except (ConnectionError, TimeoutError, UnavailableError) as error:
            # The response has begun, so no status can report it. The client reconnects.
            log.debug("api.stream_ended", error=f"{type(error).__name__}: {error}")
        with contextlib.suppress(ConnectionError):  # the client is gone
            await response.write_eof()
        await connection.end()
    return response


async def _changes(service: Service, caller: Caller, subscription: Subscription) -> AsyncIterator[str]:
    while not subscription.ended:
        changed = await subscription.wait(HEARTBEAT)
        if changed:
            # As they are now, oldest change first: a client that got the last event also got those before it.
            found = [await service.assets.get(asset_id, owner_id=caller.owner_scope) for asset_id in changed]
            assets = [asset for asset in found if asset]
            assets.sort(key=lambda asset: asset.updated_at)
            yield "".join(_event(asset, caller) for asset in assets)
        elif not subscription.ended:
            yield ": still here\n\n"
    if subscription.missed:
        yield RESET


def _event(asset: Asset, caller: Caller) -> str:
    event_id = int(asset.updated_at.timestamp() * 1_000_000)
    return f"event: asset\nid: {event_id}\ndata: {public_asset(asset, caller).model_dump_json()}\n\n"


async def _send(request: web.Request, response: web.StreamResponse, text: str) -> None:
    """Send text, and return when it is on its way. Changes meanwhile wait as one change each, not as bytes."""
    if text:
        await response.write(text.encode())
        await request.writer.drain()
