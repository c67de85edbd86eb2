"""Hands requests for a stage to the worker of the same process, without SQS in between.

The request's row in the outbox is the message: when it is due stands for when it is visible. A row that nobody deletes
is sent to the queue by the next sweep, also when this process is killed.
"""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from consumer.queue.worker import QueueWorker
from media.aws.sqs import FailedEntry, MessageQueue, Received
from media.errors import UnavailableError
from media.outbox import EffectKind, Outbox, OutboxRow
from media.telemetry import Metrics

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

POSTPONE_TIMEOUT = 3.0
"""Seconds for postponing rows. The heartbeat's messages in SQS must not be lost because Postgres is slow."""
_RECEIPT = "outbox:"
"""Begins the receipt of a message that was handed over; the row's number follows."""


class HandoverQueue(MessageQueue):
    """A queue whose worker also takes messages that were never sent. `worker` is set once it is built."""

    def __init__(self, client: "SQSClient", name: str, url: str, metrics: Metrics, outbox: Outbox) -> None:
        super().__init__(client, name, url, metrics)
        self._outbox = outbox
        self.worker: QueueWorker | None = None

    def offer(self, row: OutboxRow) -> bool:
        """Give a row to the worker if it has a place for it. Otherwise the caller has it sent."""
        if self.worker is None or row.effect.kind is not EffectKind.SEND or row.effect.target != self.name:
            return False
        return self.worker.offer(
            Received(
                message_id=f"outbox-{row.row_id}",
                receipt=f"{_RECEIPT}{row.row_id}",
                body=json.dumps(row.effect.body),
                sent=time.time(),
                group_id=row.effect.group_id,
                trace=str(row.effect.body.get("trace_id", "")),
            )
        )

    async def delete(self, receipts: Sequence[str]) -> list[FailedEntry]:
        """Delete at most ten messages, or their rows. Raises UnavailableError when SQS is away."""
        handed = _rows_of(receipts)
        rest = [receipt for receipt in receipts if receipt not in handed]
        failures = await super().delete(rest) if rest else []
        try:
            if handed:
                await self._outbox.delete(list(handed.values()))
        except UnavailableError as error:
            failures += [FailedEntry(receipt, str(error.dependency), gone=False) for receipt in handed]
        return failures

    async def change_visibility(self, delays: Mapping[str, int]) -> list[FailedEntry]:
        """Set in how many seconds messages become visible, or rows due. Raises UnavailableError when SQS is away.

        A row that could not be postponed is sent too soon, and its message finds the stage taken.
        """
        handed = _rows_of(delays)
        rest = {receipt: delay for receipt, delay in delays.items() if receipt not in handed}
        failures = await super().change_visibility(rest) if rest else []
        if handed:
            with suppress(UnavailableError, TimeoutError):
                async with asyncio.timeout(POSTPONE_TIMEOUT):
                    await self._outbox.postpone({row: delays[receipt] for receipt, row in handed.items()})
        return failures


def _rows_of(receipts: Sequence[str] | Mapping[str, int]) -> dict[str, int]:
    """Return the outbox rows of those messages that were handed over, by receipt."""
    return {receipt: int(receipt.removeprefix(_RECEIPT)) for receipt in receipts if receipt.startswith(_RECEIPT)}
