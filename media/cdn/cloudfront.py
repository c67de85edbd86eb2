"""The adapter to CloudFront: removes files from the caches of one distribution."""

import asyncio
from collections.abc import Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from media.errors import Code, RetryableError

DEADLINE = 10.0
"""Seconds for a request, its retries included."""


class CloudFrontCache:
    """The caches of one distribution."""

    def __init__(self, client: Any, distribution_id: str) -> None:
        self._client = client
        self._distribution_id = distribution_id

    async def invalidate(self, paths: Sequence[str], reference: str) -> None:
        """Remove what lies at these paths: each begins with a slash, and may end in `*`.

        A request with the same reference and paths is made once. Raises RetryableError, also when too many are in
        progress.
        """
        batch = {"Paths": {"Quantity": len(paths), "Items": list(paths)}, "CallerReference": reference}
        try:
            async with asyncio.timeout(DEADLINE):
                await self._client.create_invalidation(DistributionId=self._distribution_id, InvalidationBatch=batch)
        except (ClientError, BotoCoreError, TimeoutError) as error:
            raise RetryableError(Code.STORAGE_ERROR, f"CloudFront: {type(error).__name__}: {error}") from error
