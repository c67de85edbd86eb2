"""A shared cache before a bucket: it keeps an answer as its headers say, or for longer by a policy of its own."""

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

type Origin = Callable[[str], Awaitable[tuple[int, str]]]
"""Returns status and Cache-Control of a path."""


@dataclass
class HttpCache:
    """`least_ttl` is the minimum TTL of a CloudFront cache policy: 0 obeys the headers. `now` is the cache's clock."""

    origin: Origin
    least_ttl: int = 0
    now: float = 0
    _kept: dict[str, float] = field(default_factory=dict)
    """When the answer to a path ends to be fresh."""

    async def get(self, path: str) -> int:
        """Return the status of a GET."""
        if self._kept.get(path, -1) > self.now:
            return 200
        status, control = await self.origin(path)
        found = re.search(r"(?:s-maxage|max-age)=(\d+)", control)
        if status == 200 and not re.search(r"no-store|private", control):
            self._kept[path] = self.now + max(self.least_ttl, int(found[1]) if found else 0)
        else:
            self._kept.pop(path, None)
        return status

    def invalidate(self, patterns: Iterable[str]) -> None:
        """Forget all paths that match, as CloudFront's invalidations do."""
        wanted = list(patterns)
        self._kept = {
            path: end for path, end in self._kept.items() if not any(fnmatchcase(path, one) for one in wanted)
        }
