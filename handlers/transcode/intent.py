"""What was written down before a job was submitted, so that a lost answer can be found again."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from handlers.transcode.plan import Plan


class Intent(BaseModel):
    """The submission of one attempt. `at` is Unix seconds; `token` is the ClientRequestToken."""

    model_config = ConfigDict(frozen=True)

    attempt: int
    token: str
    at: float
    plan: Plan

    def as_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")
