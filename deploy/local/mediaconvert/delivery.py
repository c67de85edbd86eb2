"""Delivery of events to the targets of EventBridge rules: the emulator refuses events that name AWS as their source.

Events wait in the job store until they are sent, so that neither an emulator that is away nor a restart loses one.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import structlog
from botocore.exceptions import BotoCoreError, ClientError
from types_aiobotocore_events import EventBridgeClient
from types_aiobotocore_sqs import SQSClient

from deploy.local.mediaconvert.config import EVENTS_CLIENT, Config, session
from deploy.local.mediaconvert.events import Envelope
from deploy.local.mediaconvert.job_store import JobStore, PendingEvent

log = structlog.get_logger()

BATCH = 50
"""Events that are read at a time."""
BACKOFF = (0.2, 5.0)
"""Seconds before the second attempt, and the longest delay of later ones; each doubles the one before."""
GIVE_UP = 86_400.0
"""Seconds after which an event is dropped; EventBridge, too, tries for a day."""
UNCLAIMED = 60.0
"""Seconds that an event waits for a rule. EventBridge would drop it at once; here the stack may still be starting."""


class UndeliveredError(Exception):
    """No rule with a queue as its target matches the event."""


class Delivery:
    """Sender of the store's events. Call `wake` after new ones were recorded."""

    def __init__(self, store: JobStore, events: EventBridgeClient, sqs: SQSClient) -> None:
        self._store = store
        self._events = events
        self._sqs = sqs
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        """Send events until canceled."""
        while True:
            self._woken.clear()
            held: set[str] = set()
            for event in self._store.due_events(BATCH):
                # After an event that could not be sent, the later ones of its job wait, too.
                if event.job_id in held:
                    continue
                try:
                    await self._send(event)
                except (BotoCoreError, ClientError, UndeliveredError, OSError) as error:
                    self._retry_later(event, error)
                    held.add(event.job_id)
                else:
                    self._store.drop(event)
            due = self._store.next_due()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else max(0.0, due - time.time())):
                    await self._woken.wait()

    def _retry_later(self, event: PendingEvent, error: Exception) -> None:
        age = time.time() - event.created_at
        limit = UNCLAIMED if isinstance(error, UndeliveredError) else GIVE_UP
        about = {"job_id": event.job_id, "status": event.envelope["detail"]["status"]}
        if age > limit:
            log.warning("event_dropped", reason=str(error), age=round(age), **about)
            self._store.drop(event)
            return
        first, longest = BACKOFF
        delay = min(longest, first * 2 ** min(event.tries, 10))
        log.info("event_postponed", reason=str(error), delay=delay, **about)
        self._store.postpone(event, time.time() + delay)

    async def _send(self, event: PendingEvent) -> None:
        queues: list[str] = []
        for rule in await self._matching_rules(event.envelope):
            targets = (await self._events.list_targets_by_rule(Rule=rule))["Targets"]
            queues += [target["Arn"] for target in targets if target["Arn"].split(":")[2] == "sqs"]
        if not queues:
            raise UndeliveredError("no enabled rule with a queue as its target matches")
        for arn in queues:
            url = (await self._sqs.get_queue_url(QueueName=arn.split(":")[5]))["QueueUrl"]
            await self._sqs.send_message(QueueUrl=url, MessageBody=json.dumps(event.envelope))

    async def _matching_rules(self, envelope: Envelope) -> list[str]:
        text = json.dumps(envelope)
        names = []
        async for page in self._events.get_paginator("list_rules").paginate():
            for rule in page["Rules"]:
                pattern = rule.get("EventPattern")
                if not pattern or rule.get("State") == "DISABLED":
                    continue
                result = await self._events.test_event_pattern(EventPattern=pattern, Event=text)
                if result["Result"]:
                    names.append(rule["Name"])
        return names


@asynccontextmanager
async def delivery(config: Config, store: JobStore) -> AsyncIterator[Delivery]:
    """Open a delivery with its clients; the caller runs it. Unsent events are sent after the next start."""
    async with AsyncExitStack() as stack:
        place, url, botocore = config.region, config.endpoint_url, session()
        events = await stack.enter_async_context(
            botocore.create_client("events", region_name=place, endpoint_url=url, config=EVENTS_CLIENT)
        )
        sqs = await stack.enter_async_context(
            botocore.create_client("sqs", region_name=place, endpoint_url=url, config=EVENTS_CLIENT)
        )
        yield Delivery(store, events, sqs)
