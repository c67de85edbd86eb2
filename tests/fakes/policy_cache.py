"""A cache by the policy of `edge.yaml`, as CloudFront applies it: a minimum TTL, and invalidations by pattern."""

from collections.abc import Awaitable, Callable, Iterable
from fnmatch import fnmatchcase

type Origin = Callable[[str], Awaitable[int]]
"""Returns the status of a path."""


class PolicyCache:
    """Keeps each answer 200 for the minimum TTL, a year, whatever its headers say: here until it is invalidated."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._kept = set[str]()

    async def get(self, path: str) -> int:
        """Return the status of a GET."""
        if path in self._kept:
            return 200
        status = await self._origin(path)
        if status == 200:
            self._kept.add(path)
        return status

    def invalidate(self, patterns: Iterable[str]) -> None:
        """Forget all paths that match, as CloudFront's invalidations do."""
        self._kept = {path for path in self._kept if not any(fnmatchcase(path, one) for one in patterns)}
