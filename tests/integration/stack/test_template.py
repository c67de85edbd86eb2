"""Properties of the template that the emulator does not enforce."""

from typing import Any

import pytest

from deploy.local.rehearsal import template as shipped
from media.settings import QUEUES


@pytest.fixture(scope="module")
def template() -> Any:
    return shipped("media")


def statements(template: Any) -> dict[str, Any]:
    document = template["Resources"]["MediaBucketPolicy"]["Properties"]["PolicyDocument"]
    plain = [entry["Fn::If"][1] if "Fn::If" in entry else entry for entry in document["Statement"]]
    return {entry["Sid"]: entry for entry in plain}


def role(name: str) -> dict[str, str]:
    return {"Fn::Sub": f"arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:role/${{Environment}}-media-{name}"}


def test_the_policies_name_the_roles() -> None:
    roles = shipped("roles")["Resources"]
    names = {"ConsumerRole": "consumer", "MediaConvertRole": "mediaconvert"}
    for resource, name in names.items():
        assert roles[resource]["Properties"]["RoleName"] == {"Fn::Sub": f"${{Environment}}-media-{name}"}


def test_only_consumer_and_mediaconvert_read_objects_that_are_not_clean(template: Any) -> None:
    deny = statements(template)["NoCleanVerdictNoByte"]
    assert deny["Effect"] == "Deny"
    assert set(deny["Action"]) == {"s3:GetObject", "s3:GetObjectVersion"}
    assert deny["Condition"]["StringNotEquals"] == {"s3:ExistingObjectTag/scan-status": "CLEAN"}
    assert deny["Condition"]["ArnNotEquals"]["aws:PrincipalArn"] == [role("consumer"), role("mediaconvert")]


def test_only_the_consumer_tags(template: Any) -> None:
    deny = statements(template)["OnlyTheConsumerTags"]
    assert {"s3:PutObjectTagging", "s3:PutObjectVersionTagging"} <= set(deny["Action"])
    assert deny["Condition"] == {"ArnNotEquals": {"aws:PrincipalArn": role("consumer")}}


def test_an_upload_must_be_conditional_and_encrypted_on_the_wire(template: Any) -> None:
    assert statements(template)["NoOverwriteOfUploads"]["Condition"]["Null"] == {"s3:if-none-match": "true"}
    assert statements(template)["TlsOnly"]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_incomplete_uploads_and_quarantine_expire(template: Any) -> None:
    rules = template["Resources"]["MediaBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    assert {"DaysAfterInitiation": 1} in [rule.get("AbortIncompleteMultipartUpload") for rule in rules]
    (retention,) = template["Resources"]["QuarantineBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    assert retention["ExpirationInDays"] == {"Ref": "QuarantineDays"}


def test_the_notification_waits_for_the_queue_policy(template: Any) -> None:
    assert template["Resources"]["MediaBucket"]["DependsOn"] == "UploadsQueuePolicy"


def test_every_queue_is_encrypted_and_has_an_output(template: Any) -> None:
    queues = [part["Properties"] for part in template["Resources"].values() if part["Type"] == "AWS::SQS::Queue"]
    assert len(queues) == 2 * len(QUEUES)
    assert all(queue["SqsManagedSseEnabled"] for queue in queues)
    given_out = {output["Description"] for output in template["Outputs"].values()}
    assert {f"MEDIA_{queue.upper().replace('-', '_')}_QUEUE_URL" for queue in QUEUES} <= given_out
