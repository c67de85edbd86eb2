"""The record written before a plan is carried out, so that a job can be found again when its answer was lost."""

from dataclasses import replace
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from handlers.transcode.planning.plan import NOTICED_MS, Plan
from media.asset import AssetNote
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
    facts = Facts(duration_ms=plan.duration_ms, notes=[cut_short(plan.duration_ms, plan.lacking_ms)] * plan.cut_short)
    if plan.source_width and plan.source_height:
        return replace(facts, width=plan.source_width, height=plan.source_height)
    return facts


def cut_short(duration_ms: int, lacking_ms: int) -> AssetNote:
    """Tell users where a file ends that was not written to its end, and where it should, if that is known."""
    whole = f" of {(duration_ms + lacking_ms) / 1000:.1f} s" if lacking_ms >= NOTICED_MS else ""
    return AssetNote("cut_short", f"It ends after {duration_ms / 1000:.1f}{whole or ' s'}")
