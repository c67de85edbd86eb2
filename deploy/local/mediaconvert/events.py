"""The envelopes that EventBridge would carry: `MediaConvert Job State Change`."""

import time
import uuid
from datetime import UTC, datetime
from typing import Any

from deploy.local.mediaconvert.config import Config
from deploy.local.mediaconvert.job import Job, OutputDetail, Phase
from deploy.local.mediaconvert.probe import Source, Stream

type Envelope = dict[str, Any]


def progressing(job: Job, config: Config) -> Envelope:
    return _envelope(job, config, "PROGRESSING")


def canceled(job: Job, config: Config) -> Envelope:
    return _envelope(job, config, "CANCELED")


def failed(job: Job, config: Config) -> Envelope:
    return _envelope(job, config, "ERROR", errorCode=job.error_code, errorMessage=job.error_message)


def input_information(job: Job, config: Config, source: Source) -> Envelope:
    """Make the event that reports the probed input."""
    video = [_video_input(source.video)] if source.video else []
    audio = [
        {"codec": stream.codec_name.upper(), "sampleRate": stream.sample_rate, "streamId": number}
        for number, stream in enumerate(source.audio, start=len(video) + 1)
    ]
    details = [{"id": 1, "uri": job.input_file, "video": video, "audio": audio}]
    return _envelope(job, config, "INPUT_INFORMATION", inputDetails=details)


def status_update(job: Job, config: Config) -> Envelope:
    progress = {
        "phaseProgress": {phase.value: _phase_progress(job, phase) for phase in Phase},
        "jobPercentComplete": job.percent or 0,
        "currentPhase": (job.phase or Phase.PROBING).value,
        "retryCount": job.retries,
    }
    return _envelope(job, config, "STATUS_UPDATE", jobProgress=progress)


def complete(job: Job, config: Config) -> Envelope:
    warnings = {"warnings": [{"code": 0, "count": len(job.warnings)}]} if job.warnings else {}
    groups = [
        {"type": group.kind, "outputDetails": [_output(output) for output in group.outputs]}
        | ({"playlistFilePaths": list(group.playlists)} if group.playlists else {})
        for group in job.groups
    ]
    return _envelope(job, config, "COMPLETE", outputGroupDetails=groups, paddingInserted=0, **warnings)


def _envelope(job: Job, config: Config, status: str, **more: Any) -> Envelope:
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "MediaConvert Job State Change",
        "source": "aws.mediaconvert",
        "account": config.account,
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": config.region,
        "resources": [config.job_arn(job.job_id)],
        "detail": {
            "timestamp": time.time_ns() // 1_000_000,
            "accountId": config.account,
            "queue": config.queue_arn,
            "jobId": job.job_id,
            "status": status,
            "userMetadata": job.user_metadata,
            **more,
        },
    }


def _phase_progress(job: Job, phase: Phase) -> dict[str, Any]:
    order = list(Phase)
    current = order.index(job.phase or Phase.PROBING)
    if order.index(phase) < current:
        return {"status": "COMPLETE", "percentComplete": 100}
    if order.index(phase) > current:
        return {"status": "PENDING", "percentComplete": 0}
    return {"status": "PROGRESSING", "percentComplete": job.percent or 0}


def _video_input(stream: Stream) -> dict[str, Any]:
    return {
        "codec": stream.codec_name.upper(),
        "width": stream.width,
        "height": stream.height,
        "frameRate": float(stream.avg_frame_rate),
        "sar": f"{stream.sample_aspect_ratio.numerator}:{stream.sample_aspect_ratio.denominator}",
        "streamId": 1,
    }


def _output(output: OutputDetail) -> dict[str, Any]:
    detail: dict[str, Any] = {"outputFilePaths": list(output.paths), "durationInMs": output.duration_ms}
    if output.width:
        bitrate = {"averageBitrate": output.average_bitrate} if output.average_bitrate else {}
        detail["videoDetails"] = {"widthInPx": output.width, "heightInPx": output.height, **bitrate}
    return detail
