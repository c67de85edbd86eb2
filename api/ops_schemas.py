"""What goes in and what comes out of the operator's endpoints."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from api.schemas import Input, Output

QueueName = Literal["uploads", "images", "transcodes", "transcode-events", "recordings"]


class DeadLettersOut(Output):
    """Letters that died for the same reason."""

    code: str
    reason: str
    count: int


class QueueOut(Output):
    """One queue and its dead letters. Counts of SQS are approximate."""

    name: str
    backlog: int = Field(description="Messages that wait")
    in_flight: int = Field(description="Messages that a consumer holds")
    dead: int = Field(description="Messages in the dead-letter queue")
    dead_by_reason: list[DeadLettersOut]
    dead_looked_at: int = Field(
        description="Letters that `dead_by_reason` counts; fewer than `dead` when there are many"
    )


class UnfinishedOut(Output):
    """The oldest asset still at work."""

    asset_id: UUID
    asset_type: str
    status: str
    created_at: datetime
    seconds: float


class StuckOut(Output):
    """A stage without news."""

    asset_id: UUID
    asset_type: str
    status: str
    stage: str
    state: str
    attempt: int
    nudges: int
    seconds: float = Field(description="Since the last news")


class ConsumerOut(Output):
    """A daemon that lives."""

    id: str
    started_at: datetime
    seen_at: datetime
    phase: str = Field(description="running or draining")
    open_breakers: list[str] = Field(description="Dependencies that it found away")
    in_flight: int


class OpsSummary(Output):
    """How the service stands."""

    at: datetime
    queues: list[QueueOut]
    oldest_unfinished: UnfinishedOut | None
    stuck: list[StuckOut]
    consumers: list[ConsumerOut]


class RedriveRequest(Input):
    """Sends dead letters back to their queue: those with this code, or whose reason holds this text, or all."""

    queue: QueueName
    reason: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None


class RedriveOut(Output):
    queue: str
    moved: int
    finished: bool = Field(description="false: more are there, or on their way; ask again")
