"""Whole queues are moved by StartMessageMoveTask. No emulator has it, so a stand-in speaks its protocol."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from botocore.session import get_session
from botocore.validate import ParamValidator

from media.aws.clients import Clients
from media.aws.sqs import MessageQueues, MoveTask
from media.dead_letters.moves import Pace, move_by_sqs
from media.errors import UnavailableError
from tests.integration.operate.conftest import OperatorConsole


@dataclass
class MoveServer:
    """Speaks SQS's JSON protocol for the operations of a move. `looks` is how many polls find the task running.

    `refusal` is its answer to StartMessageMoveTask. With `ended`, the task has ended when it is canceled.
    """

    looks: int = 1
    status: str = "COMPLETED"
    refusal: str = ""
    ended: bool = False
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        operation = request.headers["X-Amz-Target"].partition(".")[2]
        body = json.loads(await request.read())
        shape = get_session().get_service_model("sqs").operation_model(operation).input_shape
        assert shape is not None
        problems = ParamValidator().validate(body, shape)
        assert not problems.has_errors(), problems.generate_report()
        self.requests.append((operation, body))
        if self.refusal and operation == "StartMessageMoveTask":
            return _refused(self.refusal)
        if self.ended and operation == "CancelMessageMoveTask":
            self.looks = min(self.looks, 0)
            return _refused("ResourceNotFoundException")
        return web.Response(text=json.dumps(self._respond(operation, body)), content_type="application/x-amz-json-1.0")

    def _respond(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        match operation:
            case "GetQueueAttributes":
                return {"Attributes": {"QueueArn": f"arn:aws:sqs:x:1:{body['QueueUrl'].rsplit('/')[-1]}"}}
            case "StartMessageMoveTask":
                return {"TaskHandle": "task-1"}
            case "ListMessageMoveTasks":
                self.looks -= 1
                running = self.looks >= 0
                status = "RUNNING" if running else self.status
                return {"Results": [{"Status": status, "ApproximateNumberOfMessagesMoved": 7 if not running else 3}]}
            case "ReceiveMessage":
                return {}
            case "CancelMessageMoveTask":
                self.looks, self.status = 0, "CANCELLED"
                return {"ApproximateNumberOfMessagesMoved": 3}
        raise AssertionError(operation)


def _refused(code: str) -> web.Response:
    said = json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": "no"})
    return web.Response(status=400, text=said, content_type="application/x-amz-json-1.0")


@pytest.fixture
async def server() -> AsyncIterator[tuple[MoveServer, str]]:
    moves = MoveServer()
    app = web.Application()
    app.router.add_post("/{path:.*}", moves.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield moves, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_whole_queue_is_moved_by_sqs(console: OperatorConsole, server: tuple[MoveServer, str]) -> None:
    moves, url = server
    ended = await console.dlq("redrive", "images", "--rate", "20", endpoint=url)
    assert ended.status == 0, ended.err
    assert "7 moved by SQS to images, COMPLETED" in ended.out
    started = next(body for operation, body in moves.requests if operation == "StartMessageMoveTask")
    assert started["SourceArn"] == f"{started['DestinationArn']}-dlq"
    assert ":images-" in started["DestinationArn"]
    assert started["MaxNumberOfMessagesPerSecond"] == 20
    assert all(operation != "ReceiveMessage" for operation, _ in moves.requests)


async def test_failed_task_is_reported(console: OperatorConsole, server: tuple[MoveServer, str]) -> None:
    moves, url = server
    moves.status = "FAILED"
    ended = await console.dlq("redrive", "images", endpoint=url)
    assert ended.status == 1
    assert "FAILED" in ended.out


@pytest.mark.parametrize("refusal", ["UnsupportedOperation", "InvalidAction"])
async def test_messages_are_moved_one_by_one_without_move_tasks(
    console: OperatorConsole, server: tuple[MoveServer, str], refusal: str
) -> None:
    moves, url = server
    moves.refusal = refusal
    ended = await console.dlq("redrive", "images", endpoint=url)
    assert ended.status == 0, ended.err
    assert "ReceiveMessage" in [operation for operation, _ in moves.requests]


async def test_any_other_refusal_is_an_error(console: OperatorConsole, server: tuple[MoveServer, str]) -> None:
    moves, url = server
    moves.refusal = "AccessDeniedException"
    with pytest.raises(UnavailableError, match="AccessDenied"):
        await console.dlq("redrive", "images", endpoint=url)
    assert "ReceiveMessage" not in [operation for operation, _ in moves.requests]


async def test_rate_below_one_is_kept_without_a_move_task(
    console: OperatorConsole, server: tuple[MoveServer, str]
) -> None:
    moves, url = server
    ended = await console.dlq("redrive", "images", "--rate", "0.5", endpoint=url)
    assert ended.status == 0, ended.err
    assert "StartMessageMoveTask" not in [operation for operation, _ in moves.requests]


async def stop_move(console: OperatorConsole, url: str) -> MoveTask | None:
    """Start a move by SQS and stop it at once."""
    stop = asyncio.Event()
    stop.set()

    async def ignore_progress(_move: MoveTask) -> None: ...

    async with AsyncExitStack() as stack:
        settings = console.settings.model_copy(update={"aws_endpoint_url": url})
        queues = MessageQueues(await Clients(settings, stack).sqs(), settings.queue_urls())
        return await move_by_sqs(queues.dead_letters("images"), queues["images"], Pace(), stop, ignore_progress)


async def test_stopped_move_is_canceled(console: OperatorConsole, server: tuple[MoveServer, str]) -> None:
    moves, url = server
    moves.looks = 100
    move = await stop_move(console, url)
    assert move is not None
    assert (move.status, move.running) == ("CANCELLED", False)


async def test_move_that_ended_meanwhile_is_not_an_error(
    console: OperatorConsole, server: tuple[MoveServer, str]
) -> None:
    moves, url = server
    moves.ended = True
    move = await stop_move(console, url)
    assert move is not None
    assert (move.status, move.moved) == ("COMPLETED", 7)
