"""taskiq-aio-sqs. Argument: the queue's URL, or `wrap` to turn notifications (a JSON string a line) into its tasks."""

import asyncio
import json
import sys

from taskiq import TaskiqMessage  # type: ignore[import-not-found] # lives in the bench's own environment
from taskiq.api import run_receiver_task  # type: ignore[import-not-found] # as above
from taskiq_aio_sqs import SQSBroker  # type: ignore[import-not-found] # as above

TASK = "notified"


async def notified(_body: str) -> None:
    """Do nothing."""


def make(url: str) -> SQSBroker:
    broker = SQSBroker(url.rsplit("/", 1)[1], endpoint_url=url.rsplit("/", 2)[0], max_number_of_messages=10)
    broker.register_task(notified, TASK)
    return broker


def wrap() -> None:
    broker = make("http://127.0.0.1/0/bench")
    for number, line in enumerate(sys.stdin):
        task = TaskiqMessage(task_id=f"{number:032x}", task_name=TASK, labels={}, args=[json.loads(line)], kwargs={})
        sys.stdout.write(json.dumps(broker.formatter.dumps(task).message.decode()) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "wrap":
        wrap()
    else:
        asyncio.run(run_receiver_task(make(sys.argv[1]), run_startup=True))
