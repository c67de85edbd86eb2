"""The worked example of docs/handlers.md, as it stands there, on a real queue."""

import asyncio
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from consumer.queue.circuit_breaker import Breakers
from consumer.queue.retry import RetryPolicy
from consumer.queue.worker import QueueWorker, WorkerLimits
from media.aws.sqs import MessageQueue
from media.telemetry import Metrics
from tests.integration.operate.conftest import OperatorConsole

PAGE = Path(__file__).parents[3] / "docs" / "handlers.md"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    [code] = re.findall(r"(?s)```python\n(.*?)```", PAGE.read_text())
    module = ModuleType("example")
    monkeypatch.setitem(sys.modules, "example", module)
    exec(compile(code, str(PAGE), "exec"), module.__dict__)  # noqa: S102 - the page is ours, and this is its test
    return module


async def renew_nothing(_: Any) -> set[Any]:
    return set()


async def test_example_counts_notes_and_rejects_unreadable_messages(console: OperatorConsole, example: Any) -> None:
    queue, dead = console.queues["recordings"], console.queues.dead_letters("recordings")
    for text in ("hello", "spam", "later"):
        await queue.send(json.dumps({"owner_id": "dr-house", "text": text}))
    await queue.send("{}")
    counter, metrics = example.NoteCounter(), Metrics()
    retry, limits = RetryPolicy(base=0.1, cap=0.1), WorkerLimits(visibility=30, wait=1)
    worker = QueueWorker(
        example.note_route(counter), queue, dead, renew_nothing, Breakers({}, metrics), retry, metrics, limits
    )
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(30):
        while not await depth(dead) or sorted(counter.counted) != ["hello", "later"]:
            assert not running.done()
        await worker.drain()
        await running
    [dead_letter] = await dead.receive(limit=1, wait=0, visibility=0)
    assert dead_letter.attributes["error"]["StringValue"] == "undecodable"
    assert (await queue.depth()).visible == 0


async def depth(queue: MessageQueue) -> int:
    return (await queue.depth()).visible
