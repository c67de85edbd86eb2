"""The adapter to EventBridge: sends entries to one bus, and checks by itself what EventBridge refuses."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from media.aws.failures import UNFORESEEN, AwsFailure, classify
from media.errors import Dependency, FailureKind, UnavailableError

log = structlog.get_logger(__name__)

CALL_TIMEOUT = 5.0
"""Seconds for one call. It is made once: the outbox tries again."""
BATCH = 10
"""Most entries of one call."""
BATCH_BYTES = 1_000_000
"""Most bytes of one call, entries counted as `BusEntry.size` does."""
TIME_BYTES = 14
"""Bytes that AWS counts for the time of an entry."""
NAME_LENGTH = 128
"""Most characters of a detail type, and of a source."""
CODES: dict[str, AwsFailure] = {
    "ResourceNotFoundException": AwsFailure(FailureKind.UNAVAILABLE, "there is no such bus"),
    **dict.fromkeys(
        ("AccessDenied", "AccessDeniedException", "NotAuthorizedForSourceException"),
        AwsFailure(FailureKind.UNAVAILABLE, "our role may not send to the bus"),
    ),
}
"""EventBridge's own codes. No event names anything that another's rights protect."""


@dataclass(frozen=True, slots=True)
class BusEntry:
    """One entry of PutEvents. `detail` is a JSON object."""

    source: str
    detail_type: str
    detail: str
    time: datetime

    @property
    def size(self) -> int:
        """Bytes as AWS counts them."""
        return TIME_BYTES + sum(len(text.encode()) for text in (self.source, self.detail_type, self.detail))

    def refusal(self) -> str:
        """Say why EventBridge would refuse the entry, or return an empty text."""
        if not self.source or len(self.source) > NAME_LENGTH or self.source.startswith("aws."):
            return f"{self.source!r} cannot be a source"
        if not self.detail_type or len(self.detail_type) > NAME_LENGTH:
            return f"{self.detail_type!r} cannot be a detail type"
        if self.size > BATCH_BYTES:
            return f"the entry has {self.size} bytes, of at most {BATCH_BYTES}"
        try:
            is_object = isinstance(json.loads(self.detail), dict)
        except ValueError:
            is_object = False
        return "" if is_object else "the detail is no JSON object"


class EventBus:
    """One bus. Every method raises UnavailableError when EventBridge is down, refuses us, or answers nonsense."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self.name = name

    async def check(self) -> None:
        """Ask whether the bus is there. PutEvents does not say so: it drops what is sent to another."""
        async with _calls():
            answer = await self._client.describe_event_bus(Name=self.name)
        if not isinstance(answer, dict) or not answer.get("Name"):
            raise UnavailableError(Dependency.EVENTBRIDGE, f"an odd answer about the bus: {answer!r:.200}")

    async def put(self, entries: Sequence[BusEntry]) -> list[str]:
        """Send entries, in calls of as many as one takes. Returns for each why it was not taken, or an empty text.

        Raises UnavailableError when a call failed: then some entries may have been taken, and none is known to be.
        """
        errors = [entry.refusal() for entry in entries]
        sound = [index for index, error in enumerate(errors) if not error]
        for batch in batches([(index, entries[index].size) for index in sound]):
            request = [
                {
                    "EventBusName": self.name,
                    "Source": entry.source,
                    "DetailType": entry.detail_type,
                    "Detail": entry.detail,
                    "Time": entry.time,
                }
                for entry in map(entries.__getitem__, batch)
            ]
            async with _calls():
                answer = await self._client.put_events(Entries=request)
            # The call succeeds, whatever became of its entries.
            results = answer.get("Entries") if isinstance(answer, dict) else None
            if not isinstance(results, list) or len(results) != len(batch):
                raise UnavailableError(Dependency.EVENTBRIDGE, f"an odd answer to PutEvents: {answer!r:.200}")
            for index, result in zip(batch, results, strict=True):
                errors[index] = error_of(result)
        return errors


def batches(sizes: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
    """Split entries, given as their indexes and bytes, into calls of at most BATCH entries and BATCH_BYTES."""
    batch: list[int] = []
    total = 0
    for index, size in sizes:
        if batch and (len(batch) == BATCH or total + size > BATCH_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(index)
        total += size
    if batch:
        yield batch


def error_of(result: Any) -> str:
    """Return why an entry was not taken, by its part of the answer, or an empty text."""
    if not isinstance(result, dict):
        return f"an odd answer: {result!r:.200}"
    if code := result.get("ErrorCode"):
        return f"{code}: {result.get('ErrorMessage') or ''}"
    return "" if result.get("EventId") else "neither an id nor an error was answered"


@asynccontextmanager
async def _calls() -> AsyncIterator[None]:
    """Limit a call to CALL_TIMEOUT, and turn its failure into UnavailableError."""
    try:
        async with asyncio.timeout(CALL_TIMEOUT):
            yield
    except Exception as error:
        failure = classify(error, CODES)
        if failure.kind is FailureKind.BUG:
            raise
        if failure is UNFORESEEN:
            log.exception("eventbridge.unforeseen")
        detail = f"{type(error).__name__}: {error}"
        raise UnavailableError(Dependency.EVENTBRIDGE, detail, is_unforeseen=failure is UNFORESEEN) from error
