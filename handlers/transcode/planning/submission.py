"""The record written before a plan is carried out, so that a job can be found again when its answer was lost."""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from handlers.transcode.planning.plan import Plan
from media.asset_store.stages import Facts


class EngineName(StrEnum):
    MEDIACONVERT = "mediaconvert"
    FFMPEG = "ffmpeg"


class Submission(BaseModel):
    """The plan of one attempt. `token` is the job's ClientRequestToken, or empty.

    `at` is Unix seconds by the database's clock, which sets it when the plan is recorded.
    """

    model_config = ConfigDict(frozen=True)

    attempt: int
    token: str
    plan: Plan
    at: float = 0.0
    engine: EngineName = EngineName.MEDIACONVERT

    def as_json(self) -> dict[str, Any]:
        """Return the document that is stored in `stages.plan`."""
        return self.model_dump(mode="json")


def facts_of(plan: Plan) -> Facts:
    """Return the facts about an asset that its plan reveals."""
    if plan.source_width and plan.source_height:
        return Facts(width=plan.source_width, height=plan.source_height, duration_ms=plan.duration_ms)
    return Facts(duration_ms=plan.duration_ms)
