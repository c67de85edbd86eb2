"""Builds MediaConvert's CreateJob request from a plan, with the reason for each setting. Pure."""

from typing import Any
from uuid import UUID

from handlers.transcode.mediaconvert.job_input import SOURCE_AUDIO, job_input, selector_name
from handlers.transcode.planning.names import (
    AUDIO_GROUP,
    FIRST_VARIANT,
    HLS_NAME,
    M4A_NAME,
    MP4_NAME,
    POSTER_NAME,
)
from handlers.transcode.planning.plan import GOP_SECONDS, SEGMENT_SECONDS, AudioPlan, Plan, Rung
from media.asset import ObjectVersion

TOKEN_LIMIT = 64
"""Characters of `ClientRequestToken`, by which MediaConvert deduplicates for one minute only."""

WITH_PICTURE = {"AudioDuration": "MATCH_VIDEO_DURATION"}
"""Fills up audio with silence. By default, which MediaConvert's guide prefers, audio may end before the picture."""


def create_job(
    plan: Plan,
    *,
    source: ObjectVersion,
    output_bucket: str,
    output_prefix: str,
    role_arn: str,
    queue: str | None,
    asset_id: UUID,
    attempt: int,
    token: str,
) -> dict[str, Any]:
    """Return the request document for `CreateJob`.

    `output_prefix` ends in a slash. MediaConvert reads the current version of `source`, so the caller must check first
    that it is the bound one. Raises ValueError for a token that is empty or above 64 characters.
    """
    if not 0 < len(token) <= TOKEN_LIMIT:
        raise ValueError(f"a ClientRequestToken has 1 to {TOKEN_LIMIT} characters")
    base = f"s3://{output_bucket}/{output_prefix}"
    request: dict[str, Any] = {
        "Role": role_arn,
        "ClientRequestToken": token,
        # The event rule in media.yaml filters by bucket, since environments share an account.
        "UserMetadata": {"asset_id": str(asset_id), "attempt": str(attempt), "bucket": output_bucket},
        # The shortest interval, so that a waiting user sees progress.
        "StatusUpdateInterval": "SECONDS_10",
        "Settings": {
            "TimecodeConfig": {"Source": "ZEROBASED"},
            "Inputs": [job_input(plan, source)],
            "OutputGroups": _groups(plan, base),
        },
    }
    return request | ({"Queue": queue} if queue else {})


def _groups(plan: Plan, base: str) -> list[dict[str, Any]]:
    if not plan.rungs:
        m4a = {
            "Extension": "m4a",
            "ContainerSettings": {"Container": "MP4", "Mp4Settings": {"MoovPlacement": "PROGRESSIVE_DOWNLOAD"}},
            **_audio(plan.sound),
        }
        return [_hls_group(plan, base), _file_group("M4A", base + M4A_NAME, m4a)]
    rung = plan.rungs[-1]
    settings = {"MoovPlacement": "PROGRESSIVE_DOWNLOAD"} | (WITH_PICTURE if _ends_early(plan) else {})
    mp4 = {
        "ContainerSettings": {"Container": "MP4", "Mp4Settings": settings},
        "VideoDescription": _picture(plan, rung, {"Codec": "H_264", "H264Settings": _h264(plan, rung)}),
        **_audio(plan.sound),
    }
    # The first frame, and one every denominator/numerator seconds. The finalizer keeps one.
    capture = {
        "FramerateNumerator": 1000,
        "FramerateDenominator": (plan.poster.at if plan.poster else 0) or 1000,
        "MaxCaptures": plan.poster.captures if plan.poster else 1,
        "Quality": 80,
    }
    poster = {
        "Extension": "jpg",
        "ContainerSettings": {"Container": "RAW"},
        "VideoDescription": _picture(plan, rung, {"Codec": "FRAME_CAPTURE", "FrameCaptureSettings": capture}),
    }
    return [
        _hls_group(plan, base),
        _file_group("MP4", base + MP4_NAME, mp4),
        _file_group("Poster", base + POSTER_NAME, poster),
    ]


def _hls_group(plan: Plan, base: str) -> dict[str, Any]:
    settings = {
        "Destination": base + HLS_NAME,
        "SegmentLength": SEGMENT_SECONDS,
        "MinSegmentLength": 0,
        # Audio alone has no group of pictures to be a multiple of.
        "SegmentLengthControl": "GOP_MULTIPLE" if plan.rungs else "EXACT",
        "SegmentControl": "SEGMENTED_FILES",
        "DirectoryStructure": "SINGLE_DIRECTORY",
        "OutputSelection": "MANIFESTS_AND_SEGMENTS",
        "ManifestDurationFormat": "FLOATING_POINT",
        "ManifestCompression": "NONE",
        "CodecSpecification": "RFC_6381",
        "StreamInfResolution": "INCLUDE",
        "ProgramDateTime": "EXCLUDE",
        "TargetDurationCompatibilityMode": "SPEC_COMPLIANT",
        "ClientCache": "ENABLED",
    }
    outputs = [_variant(plan, rung) for rung in in_playlist_order(plan)]
    if not plan.rungs:
        outputs = [_audio_output("_audio", plan.sound, {"AudioTrackType": "AUDIO_ONLY_VARIANT_STREAM"})]
    alternate = {"AudioTrackType": "ALTERNATE_AUDIO_AUTO_SELECT", "AudioGroupId": AUDIO_GROUP}
    for audio in plan.alternate_audio:
        outputs.append(_audio_output(f"_sound{audio.number}", audio, alternate, selector_name(audio)))
    return {
        "Name": "HLS",
        "OutputGroupSettings": {"Type": "HLS_GROUP_SETTINGS", "HlsGroupSettings": settings},
        "Outputs": outputs,
    }


def in_playlist_order(plan: Plan) -> list[Rung]:
    """Return the rung whose maximum bit rate is nearest to 2 Mbit/s, then the others from small to large."""
    first = min(plan.rungs, key=lambda rung: abs(rung.max_bitrate - FIRST_VARIANT), default=None)
    return sorted(plan.rungs, key=lambda rung: (rung is not first, rung.max_bitrate))


def _variant(plan: Plan, rung: Rung) -> dict[str, Any]:
    groups = {"AudioRenditionSets": AUDIO_GROUP} if plan.alternate_audio else {}
    return {
        "NameModifier": f"_{rung.name}",
        "ContainerSettings": {"Container": "M3U8"} | ({"M3u8Settings": WITH_PICTURE} if _ends_early(plan) else {}),
        "OutputSettings": {"HlsSettings": {"IFrameOnlyManifest": "INCLUDE", **groups}},
        "VideoDescription": _picture(plan, rung, {"Codec": "H_264", "H264Settings": _h264(plan, rung)}),
        **_audio(plan.sound),
    }


def _ends_early(plan: Plan) -> bool:
    return plan.sound is not None and plan.sound.short


def _audio_output(
    modifier: str, audio: AudioPlan | None, hls: dict[str, str], source: str = SOURCE_AUDIO
) -> dict[str, Any]:
    # By default MediaConvert writes raw AAC, where the ffmpeg engine writes transport streams.
    settings = {**hls, "IFrameOnlyManifest": "EXCLUDE", "AudioOnlyContainer": "M2TS"}
    return {
        "NameModifier": modifier,
        "ContainerSettings": {"Container": "M3U8"},
        "OutputSettings": {"HlsSettings": settings},
        **_audio(audio, source),
    }


def _file_group(name: str, destination: str, output: dict[str, Any]) -> dict[str, Any]:
    settings = {"Type": "FILE_GROUP_SETTINGS", "FileGroupSettings": {"Destination": destination}}
    return {"Name": name, "OutputGroupSettings": settings, "Outputs": [output]}


def _picture(plan: Plan, rung: Rung, codec: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = {
        # Both sides, since MediaConvert does not document how it rounds a side that is left out, and an anamorphic
        # source must be stretched to square pixels. The plan's sizes are even and promised to the user.
        "Width": rung.width,
        "Height": rung.height,
        # DEFAULT would letterbox the fraction of a pixel that rounding takes.
        "ScalingBehavior": "STRETCH_TO_OUTPUT",
        "TimecodeInsertion": "DISABLED",
        "ColorMetadata": "INSERT",
        "CodecSettings": codec,
    }
    preprocessors: dict[str, Any] = {}
    if plan.deinterlace:
        # ADAPTIVE leaves the progressive frames of a mixed source alone.
        preprocessors["Deinterlacer"] = {"Mode": "ADAPTIVE", "Algorithm": "INTERPOLATE", "Control": "NORMAL"}
    if plan.tone_map:
        preprocessors["ColorCorrector"] = {"ColorSpaceConversion": "FORCE_709"}
    return document | ({"VideoPreprocessors": preprocessors} if preprocessors else {})


def _h264(plan: Plan, rung: Rung) -> dict[str, Any]:
    return {
        "CodecProfile": "HIGH",
        "CodecLevel": "AUTO",
        "EntropyEncoding": "CABAC",
        "RateControlMode": "QVBR",
        "QvbrSettings": {"QvbrQualityLevel": rung.qvbr},
        "MaxBitrate": rung.max_bitrate,
        "QualityTuningLevel": "SINGLE_PASS_HQ",
        "GopSize": float(GOP_SECONDS),
        "GopSizeUnits": "SECONDS",
        "GopClosedCadence": 1,
        # Scene cuts would put IDR pictures of different rungs at different times, but segments must align.
        "SceneChangeDetect": "DISABLED",
        "InterlaceMode": "PROGRESSIVE",
        "AdaptiveQuantization": "AUTO",
        "FramerateControl": "SPECIFIED",
        "FramerateNumerator": plan.fps_numerator,
        "FramerateDenominator": plan.fps_denominator,
        "FramerateConversionAlgorithm": "DUPLICATE_DROP",
        "ParControl": "SPECIFIED",
        "ParNumerator": 1,
        "ParDenominator": 1,
        **({} if plan.has_b_frames else {"NumberBFramesBetweenReferenceFrames": 0}),
    }


def _audio(audio: AudioPlan | None, source: str = SOURCE_AUDIO) -> dict[str, Any]:
    """Return the audio of one output, or nothing: an output without an audio track must not mention one."""
    if audio is None:
        return {}
    aac = {
        "CodecProfile": "LC",
        "CodingMode": "CODING_MODE_1_0" if audio.channels == 1 else "CODING_MODE_2_0",
        "RateControlMode": "CBR",
        "Bitrate": audio.bitrate,
        "SampleRate": audio.sample_rate,
    }
    description: dict[str, Any] = {
        "AudioSourceName": source,
        "LanguageCodeControl": "FOLLOW_INPUT",
        "CodecSettings": {"Codec": "AAC", "AacSettings": aac},
    }
    if gains := audio.gains:
        mapping = {"OutputChannels": [{"InputChannelsFineTune": list(side)} for side in gains]}
        description["RemixSettings"] = {"ChannelsIn": len(gains[0]), "ChannelsOut": 2, "ChannelMapping": mapping}
    return {"AudioDescriptions": [description]}
