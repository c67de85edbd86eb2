"""The interface of a transcoding engine. Both engines make the same files from the same plan."""

from typing import Protocol

from handlers.transcode.planning.plan import Plan
from media.asset import Asset
from media.asset_store.stages import Claim, Commit, FencedRecorder


class Engine(Protocol):
    """Makes the files of a plan below an attempt's prefix.

    Every method raises RejectedError, RetryableError, UnavailableError and LeaseLostError.
    """

    async def resume(self, claim: Claim) -> Commit | None:
        """Return the result of an earlier attempt that need not be repeated; None when there is none."""
        ...

    async def require_source(self, asset: Asset) -> None:
        """Make sure that the engine would read the version that was scanned."""
        ...

    async def make(self, claim: Claim, plan: Plan, recorder: FencedRecorder) -> Commit:
        """Transcode, or submit a job: the commit says `done`, or `waiting` for the job's events.

        `recorder` takes the submission, before the first call to the transcoder, and the progress.
        """
        ...
