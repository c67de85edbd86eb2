"""A loopback SQS for measuring clients: the JSON protocol on a bare asyncio protocol, in a process of its own.

One queue stands behind every name. Standard output has a JSON object a line: `listening` with its URL; `started` when
the clock starts; `deleted` at each mark; `drained` with the seconds on the clock, its own CPU and its requests by kind.
The server ends when standard input does.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.sqs_queue import FastQueue

HOST = "127.0.0.1"
EXPIRY_INTERVAL = 0.25
"""Seconds between two checks for expired visibility timeouts."""
LARGEST_REQUEST = 4 * 1024 * 1024
TARGET = b"x-amz-target: amazonsqs."
LENGTH = b"content-length:"

type Reply = Callable[[bytes], None]


@dataclass
class Service:
    """The operations of SQS, independent of connections.

    The clock starts when `warm` messages have been handed out: a client that prefetches gains nothing.
    """

    queue: FastQueue
    url: str
    warm: int
    marks: Sequence[int]
    requests: Counter[str] = field(default_factory=Counter)
    waiting: "deque[tuple[dict[str, Any], Reply, asyncio.TimerHandle]]" = field(default_factory=deque)
    _told: int = 0
    _measured: "tuple[float, float, Counter[str]] | None" = None

    def handle(self, operation: str, body: dict[str, Any], reply: Reply) -> None:
        """Reply to a request: now, or later for a long poll."""
        self.requests[operation] += 1
        if operation == "receivemessage":
            self._receive(body, reply)
            return
        reply(json.dumps(self._answer(operation, body)).encode())
        if self.waiting:
            self.serve_waiting()

    def serve_waiting(self) -> None:
        while self.waiting and self.queue.depth[0]:
            body, reply, timer = self.waiting.popleft()
            timer.cancel()
            self._receive(body, reply)

    def _receive(self, body: dict[str, Any], reply: Reply) -> None:
        attributes = body.get("MessageSystemAttributeNames") or body.get("AttributeNames") or ()
        limit, visibility = body.get("MaxNumberOfMessages", 1), body.get("VisibilityTimeout")
        if self._measured is None and self.queue.handed_out >= self.warm:
            self._measured = time.perf_counter(), time.process_time(), self.requests.copy()
            report("started", messages=self.queue.handed_out)
        found = self.queue.receive(limit, visibility, attributes)
        wait = body.get("WaitTimeSeconds", 0)
        if found is not None or not wait:
            reply(found or b"{}")
            return
        timer = asyncio.get_running_loop().call_later(wait, self._give_up, reply)
        self.waiting.append((body | {"WaitTimeSeconds": 0}, reply, timer))

    def _give_up(self, reply: Reply) -> None:
        self.waiting = deque(waiter for waiter in self.waiting if waiter[1] is not reply)
        reply(b"{}")

    def _answer(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        known: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "deletemessage": self._delete,
            "deletemessagebatch": self._delete_batch,
            "changemessagevisibility": self._change,
            "changemessagevisibilitybatch": lambda body: _batch(body, self._change_one),
            "sendmessage": self._send_one,
            "sendmessagebatch": self._send_batch,
            "getqueueurl": lambda _: {"QueueUrl": self.url},
            "createqueue": lambda _: {"QueueUrl": self.url},
            "listqueues": lambda _: {"QueueUrls": [self.url]},
            "getqueueattributes": lambda _: {"Attributes": self._attributes()},
        }
        if operation not in known:
            return {"__type": "com.amazonaws.sqs#UnsupportedOperation", "message": operation}
        return known[operation](body)

    def _delete(self, body: dict[str, Any]) -> dict[str, Any]:
        self.queue.delete(body["ReceiptHandle"])
        self._report_marks()
        return {}

    def _delete_batch(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = _batch(body, lambda entry: self.queue.delete(entry["ReceiptHandle"]))
        self._report_marks()
        return answer

    def _change(self, body: dict[str, Any]) -> dict[str, Any]:
        self._change_one(body)
        return {}

    def _change_one(self, entry: dict[str, Any]) -> bool:
        return self.queue.change_visibility(entry["ReceiptHandle"], entry["VisibilityTimeout"])

    def _send_batch(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"Successful": [{"Id": e["Id"], **self._send_one(e)} for e in body["Entries"]], "Failed": []}

    def _send_one(self, entry: dict[str, Any]) -> dict[str, str]:
        message_id, digest = self.queue.send(entry["MessageBody"])
        return {"MessageId": message_id, "MD5OfMessageBody": digest}

    def _attributes(self) -> dict[str, str]:
        visible, hidden = self.queue.depth
        return {
            "ApproximateNumberOfMessages": str(visible),
            "ApproximateNumberOfMessagesNotVisible": str(hidden),
            "ApproximateNumberOfMessagesDelayed": "0",
            "VisibilityTimeout": "30",
            "QueueArn": "arn:aws:sqs:us-east-1:000000000000:bench",
        }

    def _report_marks(self) -> None:
        """Report each mark that the deletions have passed, and the end."""
        while self._told < len(self.marks) and self.queue.deleted >= self.marks[self._told]:
            report("deleted", mark=self.marks[self._told], messages=self.queue.deleted)
            self._told += 1
        if not self.queue.remaining and self._measured:
            since, cpu, before = self._measured
            report(
                "drained",
                seconds=time.perf_counter() - since,
                server_cpu=time.process_time() - cpu,
                requests=dict(self.requests - before),
                messages=self.queue.deleted,
                redelivered=self.queue.redelivered,
            )
            self.warm, self._measured = sys.maxsize, None


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, one request after the other, which is what AWS clients do."""

    def __init__(self, service: Service, latency: float) -> None:
        self._service = service
        self._latency = latency
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            size = end + 4 + int(_header(head, LENGTH) or 0)
            if size > LARGEST_REQUEST and self._transport:
                self._transport.abort()
            if len(self._buffer) < size:
                return
            request, self._buffer = self._buffer[end + 4 : size], self._buffer[size:]
            self._service.handle(_header(head, TARGET).decode(), json.loads(request or b"{}"), self._reply)

    def _reply(self, body: bytes) -> None:
        if self._latency:
            asyncio.get_running_loop().call_later(self._latency, self._write, body)
        else:
            self._write(body)

    def _write(self, body: bytes) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\n"
                b"x-amzn-RequestId: 00000000-0000-0000-0000-000000000000\r\nContent-Length: %d\r\n\r\n"
                % len(body)
                + body
            )


def _header(head: bytes, name: bytes) -> bytes:
    start = head.find(name)
    if start < 0:
        return b""
    start += len(name)
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else None].strip()


def _batch(body: dict[str, Any], apply: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    done, failed = [], []
    for entry in body["Entries"]:
        if apply(entry):
            done.append({"Id": entry["Id"]})
        else:
            failed.append({"Id": entry["Id"], "SenderFault": True, "Code": "ReceiptHandleIsInvalid", "Message": "no"})
    return {"Successful": done, "Failed": failed}


def report(event: str, **facts: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


async def serve(bodies: Sequence[str], messages: int, warm: int, marks: Sequence[int], latency: float) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    service = Service(FastQueue(bodies, messages), "", warm, marks)
    server = await loop.create_server(lambda: Connection(service, latency), HOST, 0)
    port = server.sockets[0].getsockname()[1]
    service.url = f"http://{HOST}:{port}/000000000000/bench"

    def expire() -> None:
        if service.queue.expire():
            service.serve_waiting()
        loop.call_later(EXPIRY_INTERVAL, expire)

    expire()
    report("listening", url=service.url)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), lambda: None if os.read(sys.stdin.fileno(), 4096) else ended.set())
    await ended.wait()
    loop.remove_reader(sys.stdin.fileno())
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bodies", type=Path, required=True, help="a file with one JSON string per line")
    parser.add_argument("--messages", type=int, required=True)
    parser.add_argument("--warm", type=int, default=1, help="messages handed out before the clock starts")
    parser.add_argument("--marks", type=json.loads, default=[], help="numbers of deletions to report")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds added to every answer")
    parser.add_argument("--core", type=int)
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    bodies = [json.loads(line) for line in options.bodies.read_text(encoding="utf-8").splitlines()]
    asyncio.run(serve(bodies, options.messages, options.warm, options.marks, options.latency))


if __name__ == "__main__":
    main()
