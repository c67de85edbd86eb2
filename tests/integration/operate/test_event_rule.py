"""Environments share an account, and each receives events of its own MediaConvert jobs only."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiobotocore.session import get_session

from deploy.local.mediaconvert import events
from deploy.local.mediaconvert.config import Config
from deploy.local.mediaconvert.job import Job
from deploy.local.topology import TEMPLATE
from handlers.transcode.mediaconvert.create_job import create_job
from handlers.transcode.planning.ladder import plan
from media.asset import AssetType, ObjectVersion
from tests.conftest import EmulatedAws
from tests.unit.handlers.transcode.sources import source

DEADLINE = 60.0


@pytest.fixture
async def clients(emulator: EmulatedAws, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Any, Any]]:
    for name, value in emulator.client_env.items():
        monkeypatch.setenv(name, value)
    async with AsyncExitStack() as stack:
        session = get_session()
        made = [session.create_client(name, region_name=emulator.region) for name in ("cloudformation", "events")]
        cloudformation, eventbridge = [await stack.enter_async_context(client) for client in made]
        yield cloudformation, eventbridge


async def environment(cloudformation: Any) -> tuple[str, str]:
    """Create an environment in this account; returns its name and its bucket."""
    name = f"t{uuid4().hex[:8]}"
    parameters = {"Environment": name, "CorsOrigins": "https://docfliq.example", "RequireTls": "false"}
    await cloudformation.create_stack(
        StackName=name,
        TemplateBody=await asyncio.to_thread(TEMPLATE.read_text),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
    )
    async with asyncio.timeout(DEADLINE):
        while True:  # each look is a request: the loop waits by itself
            [stack] = (await cloudformation.describe_stacks(StackName=name))["Stacks"]
            if stack["StackStatus"] != "CREATE_IN_PROGRESS":
                break
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    return name, {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}["OutputBucket"]


def completion_event(metadata: dict[str, str], folder: Path) -> str:
    """Return the event of a completed job with this metadata."""
    job = Job(
        job_id="1-abcdef",
        token=None,
        fingerprint="",
        role="",
        settings={},
        user_metadata=metadata,
        input_file="s3://b/k",
        created_at=time.time(),
    )
    return json.dumps(events.complete(job, Config(state=folder)))


def metadata_of_a_job_for(bucket: str) -> dict[str, str]:
    request = create_job(
        plan(source(), AssetType.VIDEO),
        source=ObjectVersion(bucket, "uploads/video/o/a/film.mp4", "v1"),
        output_bucket=bucket,
        output_prefix="processed/video/o/a/transcode-1/",
        role_arn="arn:aws:iam::000000000000:role/mediaconvert",
        queue=None,
        asset_id=uuid4(),
        attempt=1,
        token="t",
    )
    return dict(request["UserMetadata"])


async def test_each_environment_receives_events_of_its_own_jobs_only(clients: tuple[Any, Any], tmp_path: Path) -> None:
    cloudformation, eventbridge = clients
    (own, own_bucket), (other, _) = [await environment(cloudformation) for _ in range(2)]
    own_event = completion_event(metadata_of_a_job_for(own_bucket), tmp_path)
    foreign_event = completion_event({"purpose": "somebody else's film"}, tmp_path)

    async def is_delivered(name: str, event: str) -> bool:
        pattern = (await eventbridge.describe_rule(Name=f"{name}-media-transcode-events"))["EventPattern"]
        return bool((await eventbridge.test_event_pattern(EventPattern=pattern, Event=event))["Result"])

    assert await is_delivered(own, own_event)
    assert not await is_delivered(other, own_event)
    assert not await is_delivered(own, foreign_event)
