"""The production template, applied to the emulator, delivers an upload's event to the uploads queue."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import ClientError
from types_aiobotocore_s3 import S3Client
from types_aiobotocore_sqs import SQSClient

from deploy.local.emulator import ACCOUNT
from deploy.local.topology import ENVIRONMENT
from media.settings import QUEUES
from tests.conftest import ORIGIN, EmulatedAws


@pytest.fixture
async def clients(emulator: EmulatedAws) -> AsyncIterator[tuple[S3Client, SQSClient]]:
    session = get_session()
    session.set_credentials(emulator.access_key, emulator.secret_key)
    config = AioConfig(signature_version="s3v4", s3={"addressing_style": "path"})
    async with AsyncExitStack() as stack:
        s3 = session.create_client("s3", endpoint_url=emulator.url, region_name=emulator.region, config=config)
        sqs = session.create_client("sqs", endpoint_url=emulator.url, region_name=emulator.region)
        yield await stack.enter_async_context(s3), await stack.enter_async_context(sqs)


async def test_each_queue_has_a_dead_letter_queue(emulator: EmulatedAws, clients: tuple[S3Client, SQSClient]) -> None:
    _, sqs = clients
    for queue in QUEUES:
        url = emulator.topology.queue_urls[queue]
        attributes = (await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"]))["Attributes"]
        redrive = json.loads(attributes["RedrivePolicy"])
        dead = (await sqs.get_queue_attributes(QueueUrl=f"{url}-dlq", AttributeNames=["All"]))["Attributes"]
        assert redrive["deadLetterTargetArn"] == dead["QueueArn"]
        assert int(redrive["maxReceiveCount"]) == 20
        assert (attributes["VisibilityTimeout"], attributes["ReceiveMessageWaitTimeSeconds"]) == ("60", "20")
        kept = 864_000 if queue == "recordings" else 345_600  # nothing sends a recording's message again
        assert (int(attributes["MessageRetentionPeriod"]), int(dead["MessageRetentionPeriod"])) == (kept, 1_209_600)
        assert json.loads(dead["RedriveAllowPolicy"])["sourceQueueArns"] == [attributes["QueueArn"]]


async def test_a_presigned_upload_sends_one_event_to_the_uploads_queue(
    emulator: EmulatedAws, clients: tuple[S3Client, SQSClient]
) -> None:
    s3, sqs = clients
    key = "uploads/image/owner/0000/a photo+1.jpg"
    headers = {"Content-Type": "image/jpeg", "If-None-Match": "*"}
    wanted = {"Bucket": emulator.topology.output_bucket, "Key": key, "ContentType": "image/jpeg"}
    url = await s3.generate_presigned_url("put_object", Params=wanted)
    async with aiohttp.ClientSession() as http:
        statuses = [(await http.put(url, data=b"first", headers=headers)).status for _ in range(2)]
    assert statuses == [200, 412]
    queue = emulator.topology.queue_urls["uploads"]
    records: list[Any] = []
    while not records:
        answer = await sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20, MaxNumberOfMessages=10)
        for message in answer.get("Messages", []):
            found = json.loads(message["Body"]).get("Records", [])
            records += [
                record for record in found if record["s3"]["object"]["key"] == quote(key, safe="/").replace("%20", "+")
            ]
            await sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    (record,) = records
    assert record["s3"]["object"]["versionId"]
    assert int(record["s3"]["object"]["sequencer"], 16) > 0


HEADERS = "content-md5,content-type,if-none-match,x-amz-checksum-sha256"


async def test_the_bucket_allows_preflights_of_configured_origins_only(emulator: EmulatedAws) -> None:
    url = f"{emulator.url}/{emulator.topology.output_bucket}/uploads/x"
    wanted = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": HEADERS}
    async with aiohttp.ClientSession() as http:
        allowed = await http.options(url, headers=wanted | {"Origin": ORIGIN})
        refused = await http.options(url, headers=wanted | {"Origin": "https://evil.example"})
    assert allowed.status == 200
    assert allowed.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert refused.status == 403


async def test_a_range_of_a_version_can_be_read(emulator: EmulatedAws, clients: tuple[S3Client, SQSClient]) -> None:
    s3, _ = clients
    bucket = emulator.topology.recordings_bucket
    version = (await s3.put_object(Bucket=bucket, Key="ranged", Body=b"0123456789"))["VersionId"]
    part = await s3.get_object(
        Bucket=bucket, Key="ranged", VersionId=version, Range="bytes=7-", ResponseContentType="text/x"
    )
    assert (part["ContentRange"], await part["Body"].read()) == ("bytes 7-9/10", b"789")
    assert part["ContentType"] == "text/x"
    with pytest.raises(ClientError, match="416"):
        await s3.get_object(Bucket=bucket, Key="ranged", VersionId=version, Range="bytes=10-")


async def test_an_unsigned_request_may_not_read(emulator: EmulatedAws) -> None:
    async with aiohttp.ClientSession() as http:
        answer = await http.get(f"{emulator.url}/{emulator.topology.output_bucket}/uploads/x")
    assert answer.status == 403


async def test_the_bucket_policy_protects_originals_by_default(
    emulator: EmulatedAws, clients: tuple[S3Client, SQSClient]
) -> None:
    policy = json.loads((await clients[0].get_bucket_policy(Bucket=emulator.topology.output_bucket))["Policy"])
    denied = {entry["Sid"]: entry["Condition"] for entry in policy["Statement"] if entry["Effect"] == "Deny"}
    assert set(denied) == {"NoCleanVerdictNoByte", "OnlyTheConsumerTags"}
    consumer, mediaconvert = (
        f"arn:aws:iam::{ACCOUNT}:role/{ENVIRONMENT}-media-{name}" for name in ("consumer", "mediaconvert")
    )
    assert denied["NoCleanVerdictNoByte"]["ArnNotEquals"] == {"aws:PrincipalArn": [consumer, mediaconvert]}
    assert denied["OnlyTheConsumerTags"]["ArnNotEquals"] == {"aws:PrincipalArn": consumer}


async def test_buckets_are_versioned_and_block_public_access(
    emulator: EmulatedAws, clients: tuple[S3Client, SQSClient]
) -> None:
    s3, _ = clients
    for bucket in (emulator.topology.output_bucket, emulator.topology.recordings_bucket):
        assert (await s3.get_bucket_versioning(Bucket=bucket))["Status"] == "Enabled"
    blocked = await s3.get_public_access_block(Bucket=emulator.topology.output_bucket)
    assert all(blocked["PublicAccessBlockConfiguration"].values())
