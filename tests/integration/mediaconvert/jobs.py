"""CreateJob documents like those of the service, and their outcomes."""

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from types_aiobotocore_mediaconvert import MediaConvertClient
from types_aiobotocore_s3 import S3Client
from types_aiobotocore_sqs import SQSClient

BUCKET = "media"
ROLE = "arn:aws:iam::000000000000:role/MediaConvert"
TIMEOUT = 60.0
AAC = {"Codec": "AAC", "AacSettings": {"Bitrate": 96000, "CodingMode": "CODING_MODE_2_0", "SampleRate": 48000}}


@dataclass(frozen=True)
class World:
    """The clients of one test."""

    s3: S3Client
    sqs: SQSClient
    mediaconvert: MediaConvertClient
    queue_url: str
    seen: list[dict[str, Any]] = field(default_factory=list)

    async def event(self, job_id: str, *statuses: str) -> dict[str, Any]:
        """Return the detail of the job's first event with one of `statuses`. All earlier events are in `seen`."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                for event in self.seen:
                    if event["detail"]["jobId"] == job_id and event["detail"]["status"] in statuses:
                        return dict(event["detail"])
                await self._receive()

    async def _receive(self) -> None:
        response = await self.sqs.receive_message(QueueUrl=self.queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=5)
        for message in response.get("Messages", []):
            self.seen.append(json.loads(message["Body"]))
            await self.sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"])

    async def put(self, key: str, body: bytes | Path, share: float = 1.0) -> str:
        """Upload `body`, or the first `share` of it; return its address."""
        data = await asyncio.to_thread(body.read_bytes) if isinstance(body, Path) else body
        await self.s3.put_object(Bucket=BUCKET, Key=key, Body=data[: int(len(data) * share)])
        return f"s3://{BUCKET}/{key}"

    async def final_status(self, job_id: str) -> str:
        """Return the job's status once it has ended. It polls the API, for tests without events."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                status = (await self.mediaconvert.get_job(Id=job_id))["Job"]["Status"]
                if status not in {"SUBMITTED", "PROGRESSING"}:
                    return status
                await asyncio.sleep(0.05)

    async def read(self, address: str) -> tuple[bytes, str]:
        """Return content and content type of `s3://…`."""
        bucket, _, key = address.removeprefix("s3://").partition("/")
        response = await self.s3.get_object(Bucket=bucket, Key=key)
        return await response["Body"].read(), response["ContentType"]

    async def create(self, document: dict[str, Any]) -> str:
        job = (await self.mediaconvert.create_job(**document))["Job"]
        assert job["Status"] == "SUBMITTED"
        return job["Id"]

    async def refusal(self, document: dict[str, Any]) -> tuple[str, str, int]:
        """Return code, message and HTTP status of the error that CreateJob answers `document` with."""
        try:
            await self.mediaconvert.create_job(**document)
        except ClientError as error:
            response = error.response
            return (
                response["Error"]["Code"],
                response["Error"]["Message"],
                response["ResponseMetadata"]["HTTPStatusCode"],
            )
        raise AssertionError("the job was not refused")


def h264(max_bitrate: int, level: int = 7) -> dict[str, Any]:
    return {
        "Codec": "H_264",
        "H264Settings": {
            "RateControlMode": "QVBR",
            "MaxBitrate": max_bitrate,
            "QvbrSettings": {"QvbrQualityLevel": level},
            "CodecProfile": "HIGH",
            "FramerateControl": "SPECIFIED",
            "FramerateNumerator": 30,
            "FramerateDenominator": 1,
            "GopSize": 2,
            "GopSizeUnits": "SECONDS",
            "GopClosedCadence": 1,
            "SceneChangeDetect": "DISABLED",
            "QualityTuningLevel": "SINGLE_PASS_HQ",
        },
    }


def rung(name: str, size: dict[str, Any], max_bitrate: int, *, audio: bool = True) -> dict[str, Any]:
    return {
        "NameModifier": f"_{name}",
        "ContainerSettings": {"Container": "M3U8"},
        "VideoDescription": {**size, "CodecSettings": h264(max_bitrate)},
        **({"AudioDescriptions": [{"CodecSettings": AAC}]} if audio else {}),
        "OutputSettings": {"HlsSettings": {"IFrameOnlyManifest": "INCLUDE"}},
    }


def hls_group(destination: str, outputs: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    settings = {
        "Destination": destination,
        "SegmentLength": 6,
        "MinSegmentLength": 0,
        "SegmentLengthControl": "GOP_MULTIPLE",
        "CodecSpecification": "RFC_6381",
        **more,
    }
    return {
        "Name": "HLS",
        "OutputGroupSettings": {"Type": "HLS_GROUP_SETTINGS", "HlsGroupSettings": settings},
        "Outputs": outputs,
    }


def file_group(destination: str, *outputs: dict[str, Any]) -> dict[str, Any]:
    settings = {"Type": "FILE_GROUP_SETTINGS", "FileGroupSettings": {"Destination": destination}}
    return {"OutputGroupSettings": settings, "Outputs": list(outputs)}


def mp4(size: dict[str, Any], max_bitrate: int, *, audio: bool = True) -> dict[str, Any]:
    return {
        "ContainerSettings": {"Container": "MP4", "Mp4Settings": {"MoovPlacement": "PROGRESSIVE_DOWNLOAD"}},
        "VideoDescription": {**size, "CodecSettings": h264(max_bitrate)},
        **({"AudioDescriptions": [{"CodecSettings": AAC}]} if audio else {}),
    }


def m4a() -> dict[str, Any]:
    audio = [{"CodecSettings": AAC}]
    return {"Extension": "m4a", "ContainerSettings": {"Container": "MP4"}, "AudioDescriptions": audio}


def poster(size: dict[str, Any]) -> dict[str, Any]:
    settings = {"FramerateNumerator": 1, "FramerateDenominator": 2, "MaxCaptures": 2, "Quality": 80}
    codec = {"Codec": "FRAME_CAPTURE", "FrameCaptureSettings": settings}
    return {"ContainerSettings": {"Container": "RAW"}, "VideoDescription": {**size, "CodecSettings": codec}}


def job(source: str, *groups: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "Role": ROLE,
        "UserMetadata": {"asset_id": "8f2a", "attempt": "1"},
        "Settings": {
            "TimecodeConfig": {"Source": "ZEROBASED"},
            "Inputs": [
                {
                    "FileInput": source,
                    "TimecodeSource": "ZEROBASED",
                    "VideoSelector": {"Rotate": "AUTO"},
                    "AudioSelectors": {"Audio Selector 1": {"DefaultSelection": "DEFAULT"}},
                }
            ],
            "OutputGroups": list(groups),
        },
        **more,
    }
