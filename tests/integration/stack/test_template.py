"""Properties of the template that the emulator does not enforce."""

from typing import Any

import pytest

from deploy.local.emulator import ACCOUNT, REGION
from deploy.local.rehearsal.templates import template as shipped
from deploy.rendering import Deployment
from media.settings import QUEUES

NAMED = {"ConsumerRoleName": "scanner", "MediaConvertRoleName": "encoder"}


@pytest.fixture(scope="module")
def template() -> Any:
    return shipped("media")


def condition(sid: str, **parameters: str) -> Any:
    return Deployment({"Environment": "local", **parameters}, ACCOUNT, REGION).at(
        f"MediaBucketPolicy/PolicyDocument/Statement/{sid}/Condition"
    )


@pytest.mark.parametrize("parameters", [{}, NAMED], ids=["default", "named"])
def test_only_consumer_and_mediaconvert_read_objects_that_are_not_clean(parameters: dict[str, str]) -> None:
    deployment = Deployment({"Environment": "local", **parameters}, ACCOUNT, REGION)
    found = condition("NoCleanVerdictNoByte", **parameters)
    assert found["StringNotEquals"] == {"s3:ExistingObjectTag/scan-status": "CLEAN"}
    readers = [deployment.arn("ConsumerRole"), deployment.arn("MediaConvertRole")]
    assert found["ArnNotEquals"]["aws:PrincipalArn"] == readers


@pytest.mark.parametrize("parameters", [{}, NAMED], ids=["default", "named"])
def test_only_the_consumer_tags(parameters: dict[str, str]) -> None:
    consumer = Deployment({"Environment": "local", **parameters}, ACCOUNT, REGION).arn("ConsumerRole")
    assert condition("OnlyTheConsumerTags", **parameters) == {"ArnNotEquals": {"aws:PrincipalArn": consumer}}


def test_an_upload_must_be_encrypted_on_the_wire() -> None:
    assert condition("TlsOnly") == {"Bool": {"aws:SecureTransport": "false"}}


def test_distribution_keeps_what_it_has_for_a_year_and_tells_viewers_by_delivery() -> None:
    deployment = Deployment(
        {"Environment": "local", "CloudFrontPublicKey": "a key", "CorsOrigins": "*"}, ACCOUNT, REGION
    )
    behaviors = {each["PathPattern"]: each for each in deployment.at("Distribution/DistributionConfig/CacheBehaviors")}
    told = {}
    for path, behavior in behaviors.items():
        assert behavior["CachePolicyId"] == deployment.name("KeepRenditions")
        (policy,) = (
            name
            for name in deployment.of_type("AWS::CloudFront::ResponseHeadersPolicy")
            if deployment.name(name) == behavior["ResponseHeadersPolicyId"]
        )
        (header,) = deployment.at(f"{policy}/ResponseHeadersPolicyConfig/CustomHeadersConfig/Items")
        told[path] = (header["Value"], header["Override"])
    assert deployment.at("KeepRenditions/CachePolicyConfig/MinTTL") == 31536000
    assert told == {
        "public/*": ("public, max-age=300", True),
        "processed/*": ("private, max-age=31536000, immutable", False),
    }


def test_incomplete_uploads_and_quarantine_expire(template: Any) -> None:
    rules = template["Resources"]["MediaBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    assert {"DaysAfterInitiation": 1} in [rule.get("AbortIncompleteMultipartUpload") for rule in rules]
    (retention,) = template["Resources"]["QuarantineBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    assert retention["ExpirationInDays"] == {"Ref": "QuarantineDays"}


def test_the_notification_waits_for_the_queue_policy(template: Any) -> None:
    assert template["Resources"]["MediaBucket"]["DependsOn"] == "UploadsQueuePolicy"


def test_every_queue_is_encrypted_and_has_an_output(template: Any) -> None:
    queues = [part["Properties"] for part in template["Resources"].values() if part["Type"] == "AWS::SQS::Queue"]
    assert len(queues) == 2 * len(QUEUES) + 1, "and one for events, which only the embedded stack has"
    assert all({"SqsManagedSseEnabled", "KmsMasterKeyId"} <= set(queue) for queue in queues)
    given_out = {output["Description"] for output in template["Outputs"].values()}
    assert {f"MEDIA_{queue.upper().replace('-', '_')}_QUEUE_URL" for queue in QUEUES} <= given_out
