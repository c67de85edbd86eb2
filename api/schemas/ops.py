"""What goes in and what comes out of the operator's endpoints."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints, WithJsonSchema

from api.schemas.assets import RequestModel, ResponseModel
from media.dead_letters.dead_letter import REASON_LIMIT
from media.settings import QUEUES


def _known(name: str) -> str:
    if name not in QUEUES:
        raise ValueError(f"must be one of {', '.join(QUEUES)}")
    return name


QueueName = Annotated[str, AfterValidator(_known), WithJsonSchema({"type": "string", "enum": list(QUEUES)})]


class DeadLettersOut(ResponseModel):
    """Dead letters that died for the same reason."""

    code: str
    reason: str = Field(description="Its words, without what differs from one asset to the next")
    count: int
    oldest_at: datetime = Field(description="When the first of them died")
    newest_at: datetime
    example_asset_id: UUID | None = Field(description="The asset that the oldest one names, if it can be read")
    example_message_id: str = Field(description="By which the log knows the oldest one")


class QueueOut(ResponseModel):
    """One queue and its dead letters. Counts of SQS are approximate."""

    name: str
    backlog: int = Field(description="Messages that wait")
    in_flight: int = Field(description="Messages that a consumer holds")
    dead: int = Field(description="Messages in the dead-letter queue")
    dead_by_reason: list[DeadLettersOut]
    dead_looked_at: int = Field(
        description="Dead letters that `dead_by_reason` counts; fewer than `dead` when there are many"
    )


class UnfinishedOut(ResponseModel):
    """The oldest asset still at work."""

    asset_id: UUID
    asset_type: str
    status: str
    created_at: datetime
    seconds: float


class StuckOut(ResponseModel):
    """A stage without news."""

    asset_id: UUID
    asset_type: str
    status: str
    stage: str
    state: str
    attempt: int
    nudges: int
    seconds: float = Field(description="Since the last news")


class ConsumerOut(ResponseModel):
    """A daemon that lives, or that was silenced a short while ago."""

    id: str = Field(validation_alias="consumer_id")
    started_at: datetime
    seen_at: datetime
    seconds: float = Field(description="Since its last sign of life; one comes every 10 seconds")
    alive: bool = Field(description="false: three signs of life were missed")
    phase: str = Field(description="running or draining")
    open_breakers: list[str] = Field(description="Dependencies that it found away")
    in_flight: int


class OpsSummary(ResponseModel):
    """How the service stands."""

    at: datetime
    queues: list[QueueOut]
    oldest_unfinished: UnfinishedOut | None
    stuck: list[StuckOut]
    consumers: list[ConsumerOut]


class DeadLetterGroup(RequestModel):
    """What the summary counts together."""

    code: Annotated[str, StringConstraints(min_length=1, max_length=REASON_LIMIT)]
    reason: Annotated[str, StringConstraints(max_length=REASON_LIMIT)]


class RedriveRequest(RequestModel):
    """Sends dead letters back: those for which all that is given holds, and none that dies from now on."""

    queue: QueueName
    reason: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        None, description="Those with this code, or whose reason holds this text"
    )
    group: DeadLetterGroup | None = Field(None, description="Those that the summary counts together")
    died_before: AwareDatetime | None = Field(None, description="Usually `at` of the summary on which one acts")


class RedriveOut(ResponseModel):
    queue: str
    moved: int
    finished: bool = Field(description="false: it was cut short, more may be there that is meant; ask again")
