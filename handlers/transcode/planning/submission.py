"""What was written down before a plan was carried out, so that a lost answer can be found again."""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from handlers.transcode.planning.plan import Plan
from media.asset_store.stages import Facts


class EngineName(StrEnum):
    MEDIACONVERT = "mediaconvert"
    FFMPEG = "ffmpeg"


class Submission(BaseModel):
    """What one attempt set out to do. `at` is Unix seconds; `token` is the ClientRequestToken, if a job has one."""

    model_config = ConfigDict(frozen=True)

    attempt: int
    token: str
    at: float
    plan: Plan
    engine: EngineName = EngineName.MEDIACONVERT

    def as_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")


def facts_of(plan: Plan) -> Facts:
    """What is known of an asset once it is planned."""
    if plan.source_width and plan.source_height:
        return Facts(width=plan.source_width, height=plan.source_height, duration_ms=plan.duration_ms)
    return Facts(duration_ms=plan.duration_ms)
