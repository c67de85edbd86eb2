"""What a MediaConvert job is told of its source: which tracks to take, how to turn and to fill up the picture. Pure."""

from typing import Any

from handlers.transcode.planning.plan import AudioPlan, Plan
from media.asset import ObjectVersion

SOURCE_AUDIO = "Audio Selector 1"


def job_input(plan: Plan, source: ObjectVersion) -> dict[str, Any]:
    """The job's `Input`."""
    document: dict[str, Any] = {"FileInput": f"s3://{source.bucket}/{source.key}", "TimecodeSource": "ZEROBASED"}
    if plan.rungs:
        # The service cannot let a picture stand still; what it leaves out, players show as whatever they like.
        filled = {"PadVideo": "BLACK"} if plan.black_picture else {}
        document["VideoSelector"] = {"Rotate": _rotate(plan), "ColorSpace": "FOLLOW", **filled}
    if plan.sound:
        document["AudioSelectors"] = {SOURCE_AUDIO: _selector(plan.sound)} | {
            source_of(other): _selector(other, default="NOT_DEFAULT") for other in plan.others
        }
    return document


def source_of(other: AudioPlan) -> str:
    """What the selector of the sound in another language is called."""
    return f"Audio Selector of track {other.number}"


def _selector(sound: AudioPlan, default: str = "DEFAULT") -> dict[str, Any]:
    """By the number among the sound tracks, unless the service may not count one before it as such: then among all."""
    if sound.stream is not None:
        return {"DefaultSelection": default, "SelectorType": "STREAM", "Streams": [sound.stream]}
    return {"DefaultSelection": default, "SelectorType": "TRACK", "Tracks": [sound.number]}


def _rotate(plan: Plan) -> str:
    if plan.rotation == 0 or plan.container.startswith(("mov", "mp4")):
        return "AUTO"
    return f"DEGREES_{plan.rotation}"
