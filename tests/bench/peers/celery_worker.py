"""Celery. Argument: the queue's URL, or `wrap` to turn notifications (a JSON string a line) into its tasks."""

import base64
import json
import sys
from urllib.parse import urlsplit

from celery import Celery  # type: ignore[import-not-found] # lives in the bench's own environment
from kombu.utils.uuid import uuid  # type: ignore[import-not-found] # as above

TASK = "notified"


def notified(_body: str) -> None:
    """Do nothing."""


def make(url: str) -> Celery:
    where = urlsplit(url)
    app = Celery("bench", broker=f"sqs://test:test@{where.hostname}:{where.port}", broker_connection_retry=False)
    queue = {"url": url, "access_key_id": "test", "secret_access_key": "test"}
    app.conf.update(
        task_default_queue="bench",
        task_ignore_result=True,
        worker_prefetch_multiplier=10,
        worker_enable_remote_control=False,
        broker_transport_options={"predefined_queues": {"bench": queue}, "region": "us-east-1", "is_secure": False},
    )
    app.task(notified, name=TASK)
    return app


def wrap() -> None:
    """Wrap a notification as kombu's SQS transport does: an envelope around a body in base64, all in base64 again."""
    app = make("http://127.0.0.1:1/0/bench")
    for line in sys.stdin:
        task_id = uuid()
        made = app.amqp.as_task_v2(task_id, TASK, args=[json.loads(line)])
        envelope = {
            "body": base64.b64encode(json.dumps(made.body).encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": made.headers,
            "properties": {
                **made.properties,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": "bench"},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": uuid(),
            },
        }
        encoded = base64.b64encode(json.dumps(envelope).encode()).decode()
        sys.stdout.write(json.dumps(encoded) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "wrap":
        wrap()
    else:
        arguments = ["worker", "--pool", "solo", "--without-gossip", "--without-mingle", "--loglevel", "ERROR"]
        make(sys.argv[1]).worker_main(arguments)
