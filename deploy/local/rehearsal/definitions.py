"""Services and task definitions as ECS returns them."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel


def _pairs(value: object) -> object:
    """Turn a list of `{name, value}` or `{name, valueFrom}` into a mapping."""
    if not isinstance(value, list):
        return value
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in value}


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)


class Dependency(_Answer):
    container_name: str
    condition: str


class HealthCheck(_Answer):
    """`command` begins with CMD; the others are seconds and a count."""

    command: Sequence[str]
    interval: int = 30
    timeout: int = 5
    retries: int = 3
    start_period: int = 0


class Container(_Answer):
    """A container of a task definition. `secrets` are the ARNs from which ECS reads each variable."""

    name: str
    image: str
    command: Sequence[str] = ()
    environment_files: Sequence[Mapping[str, str]] = ()
    environment: Annotated[Mapping[str, str], BeforeValidator(_pairs)] = Field(default_factory=dict)
    secrets: Annotated[Mapping[str, str], BeforeValidator(_pairs)] = Field(default_factory=dict)
    essential: bool = True
    depends_on: Sequence[Dependency] = ()
    health_check: HealthCheck | None = None
    stop_timeout: int = 30


class TaskDefinition(_Answer):
    task_definition_arn: str
    family: str
    task_role_arn: str
    execution_role_arn: str
    container_definitions: Sequence[Container]


class Service(_Answer):
    service_name: str
    desired_count: int
    task_definition: str
