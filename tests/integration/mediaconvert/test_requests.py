"""Requests that the API accepts, refuses, repeats and lists."""

import copy
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from botocore.exceptions import ClientError

from tests.integration.mediaconvert import jobs
from tests.integration.mediaconvert.jobs import BUCKET, World
from tests.integration.mediaconvert.servers import Server

OUT = f"s3://{BUCKET}/processed/r"
Document = dict[str, Any]


def document(source: str = f"s3://{BUCKET}/absent.mp4", **more: Any) -> Document:
    rungs = [jobs.rung("270", {"Height": 270}, 400_000)]
    return jobs.job(
        source,
        jobs.hls_group(f"{OUT}/index", rungs),
        jobs.file_group(f"{OUT}/v", jobs.mp4({"Height": 270}, 400_000)),
        **more,
    )


def _hls(doc: Document) -> Document:
    return doc["Settings"]["OutputGroups"][0]["OutputGroupSettings"]["HlsGroupSettings"]  # type: ignore[no-any-return]


def _output(doc: Document, group: int = 0) -> Document:
    return doc["Settings"]["OutputGroups"][group]["Outputs"][0]  # type: ignore[no-any-return]


def _h264(doc: Document) -> Document:
    return _output(doc)["VideoDescription"]["CodecSettings"]["H264Settings"]  # type: ignore[no-any-return]


WRONG: dict[str, tuple[Callable[[Document], object], str]] = {
    "enum": (lambda doc: _h264(doc).update(RateControlMode="FANCY"), "allowed values"),
    "minimum": (lambda doc: _hls(doc).update(SegmentLength=0), "greater than or equal to 1"),
    "maximum": (lambda doc: _h264(doc)["QvbrSettings"].update(QvbrQualityLevel=11), "less than or equal to 10"),
    "pattern": (lambda doc: _hls(doc).update(Destination="processed/x"), "pattern"),
    "no segment length": (lambda doc: _hls(doc).pop("SegmentLength"), "segmentLength is a required"),
    "token": (lambda doc: doc.update(ClientRequestToken="x" * 65), "64 characters"),
    "role": (lambda doc: doc.update(Role="me"), "role ARN"),
    "no max bitrate": (lambda doc: _h264(doc).pop("MaxBitrate"), "Max bitrate"),
    "odd height": (lambda doc: _output(doc)["VideoDescription"].update(Height=271), "multiple of 2"),
    "no inputs": (lambda doc: doc["Settings"].update(Inputs=[]), "one input"),
    "no groups": (lambda doc: doc["Settings"].update(OutputGroups=[]), "at least one output group"),
    "no outputs": (lambda doc: doc["Settings"]["OutputGroups"][0].update(Outputs=[]), "at least one output"),
    "no modifier": (lambda doc: _output(doc).pop("NameModifier"), "nameModifier is a required"),
    "same file twice": (
        lambda doc: doc["Settings"]["OutputGroups"].append(copy.deepcopy(doc["Settings"]["OutputGroups"][1])),
        "Duplicate output path",
    ),
    "aac bitrate": (
        lambda doc: _output(doc)["AudioDescriptions"][0]["CodecSettings"]["AacSettings"].update(Bitrate=20_000),
        "64000-576000",
    ),
    "not implemented": (lambda doc: _hls(doc).update(SegmentControl="SINGLE_FILE"), "SEGMENTED_FILES"),
}


@pytest.mark.parametrize("what", WRONG)
async def test_a_wrong_document_is_refused(world: World, what: str) -> None:
    change, reason = WRONG[what]
    wrong = copy.deepcopy(document())
    change(wrong)
    code, message, status = await world.refusal(wrong)
    assert (code, status) == ("BadRequestException", 400)
    assert reason in message


async def test_documents_that_botocore_would_not_send_are_refused(endpoint: Server) -> None:
    signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/eu-central-1/mediaconvert/aws4_request"}
    url = f"{endpoint.url}/2017-08-29/jobs"
    body = {"Role": jobs.ROLE, "settings": {"inputs": "one", "surprise": 1}}
    async with aiohttp.ClientSession() as http:
        async with http.post(url, json=body, headers=signed) as response:
            message = (await response.json())["message"]
            assert (response.status, response.headers["x-amzn-ErrorType"]) == (400, "BadRequestException")
        async with http.post(url, data=b"{", headers=signed) as response:
            assert response.status == 400
        async with http.post(url, json=body) as response:
            assert (response.status, response.headers["x-amzn-ErrorType"]) == (403, "ForbiddenException")
    assert "/: role is a required property" in message
    assert "/: Role is not a known property" in message
    assert "/settings/inputs: Should be of type array" in message
    assert "/settings: surprise is not a known property" in message


async def test_a_token_dedupes_the_same_request_and_refuses_another(world: World) -> None:
    requested = document(ClientRequestToken="a" * 64)
    first = await world.create(requested)
    again = (await world.mediaconvert.create_job(**requested))["Job"]["Id"]
    assert again == first
    code, _, status = await world.refusal({**requested, "UserMetadata": {"attempt": "2"}})
    assert (code, status) == ("ConflictException", 409)
    other = await world.create({**requested, "ClientRequestToken": "b" * 64})
    assert other != first


async def test_jobs_are_found_by_input_and_status_and_paged(world: World) -> None:
    source = f"s3://{BUCKET}/uploads/video/o/search-me/film.mp4"
    created = [await world.create(document(source)) for _ in range(3)]
    for job_id in created:
        await world.event(job_id, "ERROR")
    found = await world.mediaconvert.search_jobs(InputFile=source, Status="ERROR", Order="ASCENDING")
    assert [job["Id"] for job in found["Jobs"]] == created
    assert not (await world.mediaconvert.search_jobs(InputFile=source, Status="COMPLETE"))["Jobs"]
    first = await world.mediaconvert.search_jobs(InputFile="search-me", MaxResults=2)
    rest = await world.mediaconvert.search_jobs(InputFile="search-me", MaxResults=2, NextToken=first["NextToken"])
    assert [job["Id"] for page in (first, rest) for job in page["Jobs"]] == created[::-1]
    assert "NextToken" not in rest
    listed = await world.mediaconvert.list_jobs(Order="DESCENDING", MaxResults=1)
    assert len(listed["Jobs"]) == 1


async def test_a_job_can_be_read_back(world: World) -> None:
    requested = document()
    job_id = await world.create(requested)
    await world.event(job_id, "ERROR")
    job = (await world.mediaconvert.get_job(Id=job_id))["Job"]
    assert job["Settings"] == requested["Settings"]
    assert job["UserMetadata"] == requested["UserMetadata"]
    assert (job["Status"], job["ErrorCode"]) == ("ERROR", 1404)
    assert job["Timing"]["FinishTime"] >= job["Timing"]["SubmitTime"]
    assert job["Arn"].endswith(f":jobs/{job_id}")
    with pytest.raises(ClientError, match="NotFoundException"):
        await world.mediaconvert.get_job(Id="nobody")
    with pytest.raises(ClientError, match="ConflictException"):
        await world.mediaconvert.cancel_job(Id=job_id)


async def test_there_is_a_default_queue(world: World) -> None:
    queue = (await world.mediaconvert.get_queue(Name="Default"))["Queue"]
    assert (await world.mediaconvert.list_queues())["Queues"][0]["Arn"] == queue["Arn"]
    assert queue["Status"] == "ACTIVE"
