"""Print the events of the running stack, a CloudEvent a line, until interrupted."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from aiobotocore.session import get_session

WAIT = 5
"""Seconds of one poll."""


async def print_events(settings: Mapping[str, str], show: Callable[[str], None], *, from_start: bool) -> None:
    """Print each event once, in the order of arrival. With `from_start`, also those that the archive has.

    A queue and a rule of this command's own get the events, so that each command and each consumer sees all.
    """
    bus, name = settings["MEDIA_EVENT_BUS"], f"events-{uuid4().hex[:12]}"
    async with _clients(settings) as (events, sqs), _queue_on_bus(events, sqs, bus, name) as queue:
        if from_start:
            await _replay(events, bus, name)
        seen: set[str] = set()
        while True:
            answer = await sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=WAIT, MaxNumberOfMessages=10)
            for message in answer.get("Messages", []):
                event = json.loads(message["Body"])["detail"]
                if event["id"] not in seen:  # it is on the bus and in the archive
                    seen.add(event["id"])
                    show(json.dumps(event, ensure_ascii=False))
                await sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


@asynccontextmanager
async def _clients(settings: Mapping[str, str]) -> AsyncIterator[tuple[Any, Any]]:
    session = get_session()
    session.set_credentials(settings["AWS_ACCESS_KEY_ID"], settings["AWS_SECRET_ACCESS_KEY"])
    region, url = settings["AWS_REGION"], settings["AWS_ENDPOINT_URL"]
    async with AsyncExitStack() as stack:
        clients = [session.create_client(name, region_name=region, endpoint_url=url) for name in ("events", "sqs")]
        events, sqs = [await stack.enter_async_context(client) for client in clients]
        yield events, sqs


@asynccontextmanager
async def _queue_on_bus(events: Any, sqs: Any, bus: str, name: str) -> AsyncIterator[str]:
    """Make a queue that gets the events of the bus, and remove it afterwards. The emulator asks for no policy."""
    queue: str = (await sqs.create_queue(QueueName=name, Attributes={"MessageRetentionPeriod": "3600"}))["QueueUrl"]
    attributes = await sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    try:
        await events.put_rule(Name=name, EventBusName=bus, EventPattern='{"source": ["docfliq.media"]}')
        target = {"Id": "queue", "Arn": attributes["Attributes"]["QueueArn"]}
        await events.put_targets(Rule=name, EventBusName=bus, Targets=[target])
        yield queue
    finally:
        await events.remove_targets(Rule=name, EventBusName=bus, Ids=["queue"])
        await events.delete_rule(Name=name, EventBusName=bus)
        await sqs.delete_queue(QueueUrl=queue)


async def _replay(events: Any, bus: str, name: str) -> None:
    """Send what the bus's archive has to this command's rule. The emulator sends it to the bus's other rules too."""
    source = (await events.describe_event_bus(Name=bus))["Arn"]
    [archive] = (await events.list_archives(EventSourceArn=source))["Archives"]
    archive_arn = (await events.describe_archive(ArchiveName=archive["ArchiveName"]))["ArchiveArn"]
    rule = (await events.describe_rule(Name=name, EventBusName=bus))["Arn"]
    await events.start_replay(
        ReplayName=name,
        EventSourceArn=archive_arn,
        EventStartTime=datetime(2020, 1, 1, tzinfo=UTC),
        EventEndTime=datetime.now(UTC),
        Destination={"Arn": source, "FilterArns": [rule]},
    )
