"""Checks beyond the service model: what MediaConvert refuses, and what this stand-in does not implement.

The wordings follow the service's own where one is known. Paths are those of the REST document.
"""

import re
from collections import Counter
from collections.abc import Iterator

from deploy.local.mediaconvert.document import (
    AacSettings,
    AudioDescription,
    H264Settings,
    HlsGroupSettings,
    JobRequest,
    Output,
    OutputGroup,
    VideoDescription,
)
from deploy.local.mediaconvert.implemented import unimplemented

TOKEN_LIMIT = 64
"""Characters of ClientRequestToken; the service's documented limit."""
ROLE = re.compile(r"arn:aws[\w-]*:iam::\d{12}:role/.+")
DESTINATION = re.compile(r"s3://[^/]+/.*", re.DOTALL)
CONTAINERS = {"HLS_GROUP_SETTINGS": {"M3U8"}, "FILE_GROUP_SETTINGS": {"MP4", "RAW"}}
MAX_OUTPUTS = 50
"""Outputs of one job: a single ffmpeg makes them all."""

BITRATE_PER_CHANNEL = range(32_000, 288_001)
"""Bits per second of a channel of AAC-LC at 48 kHz, from the service's table of supported bitrates."""
CHANNELS = {"CODING_MODE_1_0": 1, "CODING_MODE_2_0": 2, "CODING_MODE_5_1": 6}


def problems(request: JobRequest) -> list[str]:
    """List all reasons to refuse `request`, which has passed the service model; none when it can be run."""
    return [*_request(request), *unimplemented(request.settings), *_groups(request.job_settings.output_groups)]


def _request(request: JobRequest) -> Iterator[str]:
    if len(request.client_request_token or "") > TOKEN_LIMIT:
        yield f"/clientRequestToken: Should be less than or equal to {TOKEN_LIMIT} characters"
    if not ROLE.fullmatch(request.role):
        yield "/role: Invalid role ARN format. Please check the role ARN and try again."
    inputs = request.job_settings.inputs
    if len(inputs) != 1:
        yield "/inputs: Should contain exactly one input (the stand-in joins none)"
    elif not (inputs[0].file_input or "").startswith("s3://"):
        yield "/inputs/0/fileInput: Should be an s3:// address"
    if not request.job_settings.output_groups:
        yield "/outputGroups: Should contain at least one output group"


def _groups(groups: tuple[OutputGroup, ...]) -> Iterator[str]:
    if sum(len(group.outputs) for group in groups) > MAX_OUTPUTS:
        yield f"/outputGroups: Should contain at most {MAX_OUTPUTS} outputs"
    for index, group in enumerate(groups):
        yield from _group(group, f"/outputGroups/{index}")
    names = Counter(
        (group.destination, output.name_modifier, output.extension, output.container_settings.container)
        for group in groups
        for output in group.outputs
    )
    for (destination, modifier, *_), count in names.items():
        if count > 1:
            yield f"/outputGroups: Duplicate output path [{destination}{modifier}] found in job."


def _group(group: OutputGroup, path: str) -> Iterator[str]:
    kind = group.output_group_settings.type
    if kind not in CONTAINERS:
        yield f"{path}/outputGroupSettings/type: {kind or 'a missing type'} is not implemented by the stand-in"
        return
    if not DESTINATION.fullmatch(group.destination or ""):
        yield f"{path}/outputGroupSettings: destination is a required property of the form s3://bucket/name or …/"
    if kind == "HLS_GROUP_SETTINGS":
        yield from _hls_group(group.output_group_settings.hls_group_settings, f"{path}/outputGroupSettings")
    if not group.outputs:
        yield f"{path}/outputs: Should contain at least one output"
    for index, output in enumerate(group.outputs):
        yield from _output(output, kind, f"{path}/outputs/{index}")


def _hls_group(settings: HlsGroupSettings | None, path: str) -> Iterator[str]:
    path += "/hlsGroupSettings"
    if settings is None:
        return
    if settings.segment_length is None:
        yield f"{path}: segmentLength is a required property"
    elif settings.segment_length <= 0:
        yield f"{path}/segmentLength: Should be greater than or equal to 1"
    if settings.min_segment_length is None:
        yield f"{path}: minSegmentLength is a required property"


def _output(output: Output, kind: str, path: str) -> Iterator[str]:
    container = output.container_settings.container
    if container not in CONTAINERS[kind]:
        yield f"{path}/containerSettings/container: Should be one of {sorted(CONTAINERS[kind])}, not {container}"
    if kind == "HLS_GROUP_SETTINGS" and not output.name_modifier:
        yield f"{path}: nameModifier is a required property"
    if output.video_description is None and not output.audio_descriptions:
        yield f"{path}: Should have a videoDescription or audioDescriptions"
    if len(output.audio_descriptions) > 1:
        yield f"{path}/audioDescriptions: more than one is not implemented by the stand-in"
    if output.video_description:
        yield from _video(output.video_description, output, f"{path}/videoDescription")
    for index, audio in enumerate(output.audio_descriptions):
        yield from _audio(audio, f"{path}/audioDescriptions/{index}")


def _video(video: VideoDescription, output: Output, path: str) -> Iterator[str]:
    for name, size in (("width", video.width), ("height", video.height)):
        if size is not None and size % 2:
            yield f"{path}/{name}: Should be a multiple of 2"
    codec, raw = video.codec_settings.codec, output.container_settings.container == "RAW"
    if codec == "FRAME_CAPTURE":
        if not raw:
            yield f"{path}/codecSettings/codec: FRAME_CAPTURE requires the container RAW"
        if output.audio_descriptions:
            yield f"{path}/codecSettings/codec: FRAME_CAPTURE outputs cannot have audioDescriptions"
    elif codec == "H_264":
        if raw:
            yield f"{path}/codecSettings/codec: the container RAW requires FRAME_CAPTURE"
        yield from _h264(video.codec_settings.h264_settings, f"{path}/codecSettings")
    else:
        yield f"{path}/codecSettings/codec: {codec} is not implemented by the stand-in"


def _h264(settings: H264Settings | None, path: str) -> Iterator[str]:
    if settings is None:
        yield f"{path}: h264Settings is a required property"
        return
    path += "/h264Settings"
    mode = settings.rate_control_mode
    if mode == "QVBR" and (settings.max_bitrate is None or settings.bitrate is not None):
        yield (
            f"{path}: Your job contains values for the following settings that are incompatible: Rate control mode, "
            "Bitrate, and Max bitrate. Set Rate control mode to QVBR, specify a value for Max bitrate, and don't "
            "specify a value for Bitrate."
        )
    if mode != "QVBR" and (settings.bitrate is None or settings.qvbr_settings is not None):
        yield f"{path}: {mode or 'CBR'} requires bitrate and no qvbrSettings"
    if settings.framerate_control == "SPECIFIED" and not (
        settings.framerate_numerator and settings.framerate_denominator
    ):
        yield f"{path}: framerateNumerator and framerateDenominator are required properties"
    if settings.gop_size is not None and settings.gop_size <= 0 and settings.gop_size_units != "AUTO":
        yield f"{path}/gopSize: Should be greater than 0"


def _audio(audio: AudioDescription, path: str) -> Iterator[str]:
    if audio.remix_settings:
        yield from _remix(audio, f"{path}/remixSettings")
    path += "/codecSettings"
    aac = audio.codec_settings.aac_settings
    if audio.codec_settings.codec != "AAC":
        yield f"{path}/codec: {audio.codec_settings.codec} is not implemented by the stand-in"
    elif aac is None:
        yield f"{path}: aacSettings is a required property"
    else:
        yield from _aac(aac, f"{path}/aacSettings")


def _remix(audio: AudioDescription, path: str) -> Iterator[str]:
    remix, aac = audio.remix_settings, audio.codec_settings.aac_settings
    if remix is None or aac is None:
        return
    rows = remix.gains
    if remix.channels_out != len(rows) or any(len(row) != remix.channels_in for row in rows):
        yield f"{path}/channelMapping: Should have channelsOut rows of channelsIn gains"
    if aac.coding_mode in CHANNELS and remix.channels_out != CHANNELS[aac.coding_mode]:
        yield f"{path}/channelsOut: Should be the number of channels of {aac.coding_mode}"


def _aac(aac: AacSettings, path: str) -> Iterator[str]:
    if aac.sample_rate is None:
        yield f"{path}: sampleRate is a required property"
    if aac.coding_mode not in CHANNELS:
        yield f"{path}/codingMode: Should be one of {sorted(CHANNELS)}"
        return
    if aac.codec_profile != "LC" or aac.rate_control_mode != "CBR":
        yield f"{path}: only LC and CBR are implemented by the stand-in"
    channels = CHANNELS[aac.coding_mode]
    allowed = range(BITRATE_PER_CHANNEL.start * channels, (BITRATE_PER_CHANNEL.stop - 1) * channels + 1)
    if aac.bitrate not in allowed:
        yield (
            f"{path}/bitrate: You specified a value for Bitrate that is not valid with the combination of Profile LC, "
            f"Coding mode {aac.coding_mode}, and Sample rate {aac.sample_rate} you selected. "
            f"Specify a bitrate in the range of {allowed[0]}-{allowed[-1]}, and resubmit your job"
        )
