"""Builds a job's input: which tracks to take, how to turn the picture and fill it up. Pure."""

from typing import Any

from handlers.transcode.planning.plan import AudioPlan, Plan
from media.asset import ObjectVersion

COLOR_SPACES = {"bt709": "REC_709", "smpte170m": "REC_601"}
"""MediaConvert's names of the colors that a source may be assumed to have."""
SOURCE_AUDIO = "Audio Selector 1"
"""Name of the selector of the main audio."""


def job_input(plan: Plan, source: ObjectVersion) -> dict[str, Any]:
    """Return the job's `Input`."""
    document: dict[str, Any] = {"FileInput": f"s3://{source.bucket}/{source.key}", "TimecodeSource": "ZEROBASED"}
    if plan.rungs:
        # MediaConvert cannot repeat a frame until the end. What players show without a picture is undefined.
        padding = {"PadVideo": "BLACK"} if plan.black_picture else {}
        is_automatic = plan.rotation == 0 or plan.container.startswith(("mov", "mp4"))
        rotate = "AUTO" if is_automatic else f"DEGREES_{plan.rotation}"
        colors = {"ColorSpace": "FOLLOW"}
        if plan.assumed_color:
            # What MediaConvert takes a picture for that names no colors is not documented.
            colors = {"ColorSpace": COLOR_SPACES[plan.assumed_color], "ColorSpaceUsage": "FALLBACK"}
        document["VideoSelector"] = {"Rotate": rotate, **colors, **padding}
    if plan.sound:
        document["AudioSelectors"] = {SOURCE_AUDIO: _selector(plan.sound)} | {
            selector_name(audio): _selector(audio, default="NOT_DEFAULT") for audio in plan.alternate_audio
        }
    return document


def selector_name(audio: AudioPlan) -> str:
    """Name the selector of the audio in another language."""
    return f"Audio Selector of track {audio.number}"


def _selector(audio: AudioPlan, default: str = "DEFAULT") -> dict[str, Any]:
    """Select a track by its number among the audio tracks, or among all tracks when the plan names that number."""
    if audio.stream is not None:
        return {"DefaultSelection": default, "SelectorType": "STREAM", "Streams": [audio.stream]}
    return {"DefaultSelection": default, "SelectorType": "TRACK", "Tracks": [audio.number]}
