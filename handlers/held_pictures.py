"""Keeps the bytes of pictures from their scan until they are rendered by the same process."""

from collections.abc import Sequence
from uuid import UUID

CAPACITY = 64 * 1024 * 1024
"""Bytes of all pictures that are held. The oldest make room for new ones."""
LARGEST = 16 * 1024 * 1024
"""Bytes of a picture, at most. A larger one is fetched again."""


class HeldPictures:
    """Pictures by their asset, of `capacity` bytes together. Many are never taken: another process renders them."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._pictures: dict[UUID, Sequence[bytes]] = {}
        self._held = 0

    def put(self, asset_id: UUID, pieces: Sequence[bytes]) -> None:
        """Hold a picture of at most LARGEST bytes."""
        self.take(asset_id)
        self._pictures[asset_id] = pieces
        self._held += sum(map(len, pieces))
        while self._held > self._capacity:
            self.take(next(iter(self._pictures)))

    def take(self, asset_id: UUID) -> Sequence[bytes] | None:
        """Return a picture and forget it; None where it is not held."""
        pieces = self._pictures.pop(asset_id, None)
        self._held -= sum(map(len, pieces or ()))
        return pieces
