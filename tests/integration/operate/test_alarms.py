"""What the alarms tell, and when: not while they are made, and once more when it is over."""

import json
from typing import Any

import pytest

from deploy.local.emulator import ACCOUNT, REGION
from deploy.rendering import Deployment
from media.settings import QUEUES

TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:alarms"
WATCHED_BY_THEIR_SILENCE = {"SignaturesOldAlarm", "NoApiAlarm", *(f"NotPolled{q.replace('-', '')}" for q in QUEUES)}
"""Alarms that missing data sets off: nobody polls, no target is there, no signature was looked for."""


@pytest.fixture(scope="module")
def alarms() -> dict[str, Any]:
    parameters = {"Environment": "prod", "AlarmTopicArn": TOPIC, "MonthlyBudget": "400"}
    found = Deployment(parameters, ACCOUNT, REGION).of_type("AWS::CloudWatch::Alarm")
    assert len(found) > 3 * len(QUEUES)
    return found


def test_every_alarm_tells_its_begin_and_its_end(alarms: dict[str, Any]) -> None:
    for name, alarm in alarms.items():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [TOPIC], name


def test_new_stack_raises_no_alarm(alarms: dict[str, Any]) -> None:
    # An alarm begins with "insufficient data", and only a change of its state is told.
    assert {alarm["TreatMissingData"] for alarm in alarms.values()} == {"missing", "notBreaching"}
    assert {
        name for name, alarm in alarms.items() if alarm["TreatMissingData"] == "missing"
    } == WATCHED_BY_THEIR_SILENCE
    told = {name for name, alarm in alarms.items() if alarm.get("InsufficientDataActions") == [TOPIC]}
    assert told == WATCHED_BY_THEIR_SILENCE


def test_without_a_topic_nothing_is_told() -> None:
    deployment = Deployment({"Environment": "prod"}, ACCOUNT, REGION)
    for name, alarm in deployment.of_type("AWS::CloudWatch::Alarm").items():
        assert not {"AlarmActions", "OKActions", "InsufficientDataActions"} & set(alarm), name
    assert deployment.at("FailedDeployments") is None


@pytest.mark.parametrize(
    ("rule", "event"),
    [
        (
            "FailedDeployments",
            {
                "source": "aws.ecs",
                "detail-type": "ECS Deployment State Change",
                "resources": [f"arn:aws:ecs:{REGION}:{ACCOUNT}:service/prod-media/consumer"],
                "detail": {"eventName": "SERVICE_DEPLOYMENT_FAILED", "reason": "circuit breaker"},
            },
        ),
        (
            "OutOfMemory",
            {
                "source": "aws.ecs",
                "detail-type": "ECS Task State Change",
                "detail": {
                    "clusterArn": f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/prod-media",
                    "lastStatus": "STOPPED",
                    "containers": [{"name": "x"}, {"reason": "OutOfMemoryError: Container killed due to memory usage"}],
                },
            },
        ),
    ],
)
async def test_event_of_ecs_is_told(clients: Any, rule: str, event: dict[str, Any]) -> None:
    """EventBridge itself says whether the pattern takes the event, and refuses another environment's."""
    events = await clients("events")
    pattern = Deployment({"Environment": "prod", "AlarmTopicArn": TOPIC}, ACCOUNT, REGION).at(f"{rule}/EventPattern")
    whole = {"id": "1", "account": ACCOUNT, "region": REGION, "time": "2026-01-01T00:00:00Z", "resources": [], **event}
    asked = json.dumps(whole)
    assert (await events.test_event_pattern(EventPattern=json.dumps(pattern), Event=asked))["Result"]
    other = asked.replace("prod-media", "test-media")
    assert not (await events.test_event_pattern(EventPattern=json.dumps(pattern), Event=other))["Result"]
