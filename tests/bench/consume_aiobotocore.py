"""The simplest loops, with plain aiobotocore: receive ten messages, then delete each, or the batch.

Arguments: the queue's URL, `each` or `batch`, and how many loops run side by side. Runs until stopped from outside.
"""

import asyncio
import json
import sys
from typing import Any

from aiobotocore.session import get_session


async def loop(client: Any, url: str, *, batch: bool) -> None:
    while True:
        answer = await client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=20)
        messages = answer.get("Messages", [])
        for message in messages:
            json.loads(message["Body"])
        if batch and messages:
            entries = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(messages)]
            await client.delete_message_batch(QueueUrl=url, Entries=entries)
        elif messages:
            for message in messages:
                await client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


async def main() -> None:
    url, kind, loops = sys.argv[1], sys.argv[2], int(sys.argv[3])
    async with get_session().create_client("sqs", endpoint_url=url.rsplit("/", 2)[0]) as client:
        await asyncio.gather(*(loop(client, url, batch=kind == "batch") for _ in range(loops)))


if __name__ == "__main__":
    asyncio.run(main())
