"""Our consumer in the consume benchmark: a queue worker with heartbeat, metrics and fences, and an empty handler.

Argument: the queue's URL. Runs until it is stopped from outside.
"""

import asyncio
import sys
from collections.abc import Hashable, Sequence
from contextlib import AsyncExitStack

from consumer.decoders import ObjectCreated, decode_upload
from consumer.queue.circuit_breaker import Breakers
from consumer.queue.in_flight import InFlightMessage, Record
from consumer.queue.outcome import IGNORED, SUCCESS, Outcome
from consumer.queue.retry import RetryPolicy
from consumer.queue.worker import QueueWorker, Route, WorkerLimits
from media.asset import Stage, asset_id_of_key
from media.asset_store.stages import Fence
from media.aws.clients import Clients
from media.aws.sqs import MessageQueue
from media.process import gc_tuning
from media.settings import load
from media.telemetry import Metrics, configure_logging, watch_loop

POLLERS = 10
LIMITS = WorkerLimits(concurrency=50, prefetch=100, pollers=POLLERS, visibility=60, wait=20)


async def handle(record: Record, message: InFlightMessage) -> Outcome:
    """Do what a claim does in memory: find the asset, hold its fence during the work, release it."""
    asset_id = asset_id_of_key(record.stored.version.key) if isinstance(record, ObjectCreated) else None
    if asset_id is None:
        return IGNORED
    fence = Fence(asset_id, Stage.SCAN, 1)
    message.leases.add(fence)
    try:
        return SUCCESS
    finally:
        message.leases.discard(fence)


async def renew(_leases: Sequence[Hashable]) -> set[Hashable]:
    return set()


async def main() -> None:
    configure_logging("json", "INFO")
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        client = await Clients(load(None), stack).sqs()
        queue, dead = MessageQueue(client, "uploads", sys.argv[1]), MessageQueue(client, "uploads-dlq", sys.argv[1])
        route = Route("uploads", "scan", decode_upload, handle, [])
        worker = QueueWorker(route, queue, dead, renew, Breakers({}, metrics), RetryPolicy(), metrics, LIMITS)
        gc_tuning.relax()
        async with asyncio.TaskGroup() as group:
            group.create_task(watch_loop(metrics.loop_lag))
            group.create_task(worker.run())


if __name__ == "__main__":
    asyncio.run(main())
