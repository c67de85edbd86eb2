"""Requests and responses of the operator's endpoints."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints, WithJsonSchema

from api.schemas.assets import QueryModel, RequestModel, ResponseModel
from media.dead_letters.dead_letter import REASON_LIMIT
from media.settings import QUEUES

BODY_SHOWN = 16_000
"""Characters of a message that are shown. SQS takes 1 MiB, and ours are below 2,000."""


def _require_queue(name: str) -> str:
    if name not in QUEUES:
        raise ValueError(f"must be one of {', '.join(QUEUES)}")
    return name


QueueName = Annotated[str, AfterValidator(_require_queue), WithJsonSchema({"type": "string", "enum": list(QUEUES)})]


class DeadLettersOut(ResponseModel):
    """Dead letters with the same reason."""

    code: str
    reason: str = Field(description="The text of the reason, without what differs between assets")
    count: int
    oldest_at: datetime = Field(description="When the first of them was dead-lettered")
    newest_at: datetime
    example_asset_id: UUID | None = Field(description="The asset of the oldest one, if it can be decoded")
    example_message_id: str = Field(description="The message id of the oldest one, as logged")


class QueueOut(ResponseModel):
    """One queue and its dead letters. SQS counts approximately."""

    name: str
    backlog: int = Field(description="Messages that wait for a consumer")
    in_flight: int = Field(description="Messages that a consumer holds")
    dead: int = Field(description="Messages in the dead-letter queue")
    dead_by_reason: list[DeadLettersOut]
    dead_looked_at: int = Field(
        description="Dead letters counted by `dead_by_reason`; fewer than `dead` when there are many"
    )


class UnfinishedOut(ResponseModel):
    """The oldest unfinished asset."""

    asset_id: UUID
    asset_type: str
    status: str
    created_at: datetime
    seconds: float


class StuckOut(ResponseModel):
    """A stage that has made no progress for too long."""

    asset_id: UUID
    asset_type: str
    status: str
    stage: str
    state: str
    attempt: int
    nudges: int
    seconds: float = Field(description="Since its last progress")


class ConsumerOut(ResponseModel):
    """A consumer that runs, or that stopped reporting a short while ago."""

    id: str = Field(validation_alias="consumer_id")
    started_at: datetime
    seen_at: datetime
    seconds: float = Field(description="Since its last report; it reports every 10 seconds")
    alive: bool = Field(description="false: three reports are missing")
    phase: str = Field(description="running or draining")
    open_breakers: list[str] = Field(description="Dependencies that it found unavailable")
    in_flight: int


class OpsSummary(ResponseModel):
    """The state of the service."""

    at: datetime
    queues: list[QueueOut]
    oldest_unfinished: UnfinishedOut | None
    stuck: list[StuckOut]
    consumers: list[ConsumerOut]


class DeadLetterGroup(RequestModel):
    """A group of dead letters as the summary counts them."""

    code: Annotated[str, StringConstraints(min_length=1, max_length=REASON_LIMIT)]
    reason: Annotated[str, StringConstraints(max_length=REASON_LIMIT)]


class DeadLetterQuery(QueryModel):
    """Which dead letters to show: those of one group of the summary."""

    queue: QueueName
    code: Annotated[str, StringConstraints(min_length=1, max_length=REASON_LIMIT)]
    reason: Annotated[str, StringConstraints(max_length=REASON_LIMIT)] = ""
    limit: int = Field(10, ge=1, le=50)


class DeadLetterOut(ResponseModel):
    """One dead letter."""

    message_id: str
    code: str
    reason: str = Field(description="Why it was dead-lettered, in full")
    first_received_at: datetime
    died_at: datetime
    owner_id: str = Field(description="Whose fair share of the queue it counted to; empty where nobody's")
    body: str = Field(description=f"Its first {BODY_SHOWN:,} characters")
    body_length: int = Field(description="Characters of the whole body")


class DeadLetterListing(ResponseModel):
    """Dead letters of one group, the oldest first."""

    items: list[DeadLetterOut]


class DiscardRequest(RequestModel):
    """Delete the dead letters of one group for good, and none that is dead-lettered later."""

    queue: QueueName
    group: DeadLetterGroup
    died_before: AwareDatetime = Field(description="Those dead-lettered before; usually `at` of the summary")


class DiscardOut(ResponseModel):
    queue: str
    discarded: int
    finished: bool = Field(description="false: stopped early, more messages may match; repeat")


class RedriveRequest(RequestModel):
    """Send dead letters back: those that match all given fields, and none that is dead-lettered later."""

    queue: QueueName
    reason: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        None, description="Those with this code, or whose reason contains this text"
    )
    group: DeadLetterGroup | None = Field(None, description="Those that the summary counts as one group")
    died_before: AwareDatetime | None = Field(
        None, description="Those dead-lettered before; usually `at` of the summary"
    )


class RedriveOut(ResponseModel):
    queue: str
    moved: int
    finished: bool = Field(description="false: stopped early, more messages may match; repeat")
