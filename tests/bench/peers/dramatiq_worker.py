"""dramatiq-sqs. Argument: the queue's URL, or `wrap` to turn notifications (a JSON string a line) into its messages."""

import base64
import json
import sys
import threading

import dramatiq  # type: ignore[import-not-found] # lives in the bench's own environment
from dramatiq_sqs import SQSBroker  # type: ignore[import-not-found] # as above

THREADS = 8
"""The default of dramatiq."""


def notified(_body: str) -> None:
    """Do nothing."""


def make(url: str) -> tuple[SQSBroker, dramatiq.Actor]:
    broker = SQSBroker(endpoint_url=url.rsplit("/", 2)[0])
    dramatiq.set_broker(broker)
    return broker, dramatiq.actor(notified, queue_name="bench")


if __name__ == "__main__":
    if sys.argv[1] == "wrap":
        _, actor = make("http://127.0.0.1/0/bench")
        for line in sys.stdin:
            encoded = base64.b64encode(actor.message(json.loads(line)).encode()).decode()
            sys.stdout.write(json.dumps(encoded) + "\n")
    else:
        dramatiq.Worker(make(sys.argv[1])[0], worker_threads=THREADS).start()
        threading.Event().wait()
