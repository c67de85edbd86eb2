"""What the transcode stage asks of whoever transcodes. The same plan goes in, the same files come out."""

from typing import Protocol

from handlers.transcode.planning.plan import Plan
from media.asset import Asset
from media.asset_store.stages import Claim, Commit, FencedRecorder


class Engine(Protocol):
    """Makes below an attempt's prefix what a plan says.

    Every method raises RejectedError, RetryableError, UnavailableError and LeaseLostError.
    """

    async def resume(self, claim: Claim) -> Commit | None:
        """What an earlier attempt left that need not be done again; None when there is nothing."""
        ...

    async def require_source(self, asset: Asset) -> None:
        """Make sure that what would be read is the version that was scanned."""
        ...

    async def make(self, claim: Claim, plan: Plan, recorder: FencedRecorder) -> Commit:
        """Do it, or have it done: the commit says `done`, or `waiting` for a job whose events will tell.

        `recorder` takes the submission, before the first call to whoever transcodes, and the progress.
        """
        ...
