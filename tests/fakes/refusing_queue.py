"""A queue in memory that holds no messages, and whose answers about receipts a test decides."""

from collections.abc import Iterable, Mapping, Sequence

from media.aws.sqs import FailedEntry
from tests.fakes.memory_queue import MemoryQueue


class RefusingQueue(MemoryQueue):
    """Accepts every receipt but those in `refused`: True is gone, False is refused for now."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: dict[str, bool] = {}
        self.deleted: list[str] = []

    async def delete(self, receipts: Sequence[str]) -> list[FailedEntry]:
        await self._request("delete", receipts)
        self.deleted += [receipt for receipt in receipts if receipt not in self.refused]
        return self._failures(receipts)

    async def change_visibility(self, delays: Mapping[str, int]) -> list[FailedEntry]:
        await self._request("change_visibility", list(delays), list(delays.values()))
        return self._failures(delays)

    def _failures(self, receipts: Iterable[str]) -> list[FailedEntry]:
        return [FailedEntry(r, "Refused", gone=self.refused[r]) for r in receipts if r in self.refused]
