"""Server-sent events: assets as they change, with heartbeats, and a way to catch up after a break."""

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
from api.schemas.assets import AssetOut, EventsQuery, TicketOut
from api.security.auth import Caller
from api.server.connection_limits import connection_of
from api.service import Service, admitted, caller_of, service_of
from api.views.assets import asset_id_of
from media.asset import Asset
from media.asset_store.assets import PAGE_LIMIT
from media.errors import UnavailableError

log = structlog.get_logger(__name__)

HEARTBEAT = 15.0
"""Seconds; below the idle time-out of a load balancer (60 s on AWS)."""
LONGEST = 3600.0
"""Seconds that a stream lasts; whoever comes again shows anew who they are."""
OVERLAP = timedelta(seconds=5)
"""Changes may be committed out of order by so much; telling one twice does no harm."""
CATCH_UP_PAGES = 10
"""Pages of assets that a client is told after a break; whoever missed more is told to list again."""
RESET = "event: reset\ndata: {}\n\n"
_EVENT_ID = re.compile(r"[0-9]{1,16}")


async def make_ticket(request: web.Request) -> web.Response:
    """A one-minute ticket for the `ticket` parameter of a stream."""
    caller = await caller_of(request)
    ticket, end = service_of(request).tickets.make(caller, datetime.now(UTC))
    return json_response(TicketOut(ticket=ticket, expires_at=end), status=201)


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
        return await _stream(request, service, caller, subscription, _first(asset))


async def all_events(request: web.Request) -> web.StreamResponse:
    """All assets of the caller, from now on or from Last-Event-ID on."""
    service, query = service_of(request), read_query(request, EventsQuery)
    caller = await _caller(request, service, query)
    since = _since(request.headers.get("Last-Event-ID") or query.last_event_id)
    with service.hub.subscribed(caller, None) as subscription:
        return await _stream(request, service, caller, subscription, _missed(service, caller, since))


async def _caller(request: web.Request, service: Service, query: EventsQuery) -> Caller:
    if query.ticket:
        return await admitted(request, service.tickets.caller(query.ticket, datetime.now(UTC)))
    return await caller_of(request)


def _since(event_id: str | None) -> datetime | None:
    """When the event with this id happened; ids are microseconds. What is no id of ours counts as none."""
    if not event_id or not _EVENT_ID.fullmatch(event_id):
        return None
    return datetime.fromtimestamp(int(event_id) / 1_000_000, UTC)


async def _first(asset: Asset) -> AsyncIterator[str]:
    yield _event(asset)


async def _missed(service: Service, caller: Caller, since: datetime | None) -> AsyncIterator[str]:
    """What changed since, in order and page by page; the word to list again where that would be too much."""
    if since is None:
        return
    if caller.owner_scope is not None:  # services and admins see everybody's
        after = (since - OVERLAP, UUID(int=0))
        for _ in range(CATCH_UP_PAGES):
            page = await service.assets.changed(owner_id=caller.owner_scope, after=after)
            yield "".join(map(_event, page))
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
    """Returns when the connection is gone: until then the stream counts as one."""
    connection = connection_of(request)
    connection.close()  # takes no further request: nobody would come to it
    connection.when_gone(subscription.end)
    response = web.StreamResponse(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    response.content_type = "text/event-stream"
    response.force_close()
    await response.prepare(request)
    with service.metrics.streams.track_inprogress():
        try:
            async with asyncio.timeout(min(LONGEST, caller.until - time.time())):
                await _send(request, response, "retry: 3000\n: connected\n\n")
                for texts in (first, _news(service, caller, subscription)):
                    async for text in texts:
                        await _send(request, response, text)
        except (ConnectionError, TimeoutError, UnavailableError) as error:
            # The answer has begun, so there is no status left to say it with: the client comes again.
            log.debug("api.stream_ended", error=f"{type(error).__name__}: {error}")
        with contextlib.suppress(ConnectionError):  # gone before it could be told
            await response.write_eof()
        await connection.end()
    return response


async def _news(service: Service, caller: Caller, subscription: Subscription) -> AsyncIterator[str]:
    while not subscription.ended:
        changed = await subscription.wait(HEARTBEAT)
        if changed:
            # As they are now, oldest change first: whoever heard the last event heard the ones before it.
            found = [await service.assets.get(asset_id, owner_id=caller.owner_scope) for asset_id in changed]
            assets = [asset for asset in found if asset]
            yield "".join(map(_event, sorted(assets, key=lambda asset: asset.updated_at)))
        elif not subscription.ended:
            yield ": still here\n\n"


def _event(asset: Asset) -> str:
    event_id = int(asset.updated_at.timestamp() * 1_000_000)
    return f"event: asset\nid: {event_id}\ndata: {AssetOut.model_validate(asset).model_dump_json()}\n\n"


async def _send(request: web.Request, response: web.StreamResponse, text: str) -> None:
    """Returns when the text is on its way: what changes meanwhile waits as one change, and not as bytes."""
    if text:
        await response.write(text.encode())
        await request.writer.drain()
