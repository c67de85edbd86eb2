"""The part of a CreateJob document that this endpoint acts on, as frozen models with boto's names as aliases."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_pascal


class _DocumentModel(BaseModel):
    """A part of the document. It has passed the service model before, so other members can be ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_pascal)


class H264QvbrSettings(_DocumentModel):
    qvbr_quality_level: int = 7
    max_average_bitrate: int | None = None


class H264Settings(_DocumentModel):
    rate_control_mode: str | None = None
    bitrate: int | None = None
    max_bitrate: int | None = None
    qvbr_settings: H264QvbrSettings | None = None
    codec_profile: str = "MAIN"
    framerate_control: str = "INITIALIZE_FROM_SOURCE"
    framerate_numerator: int | None = None
    framerate_denominator: int | None = None
    gop_size: float | None = None
    gop_size_units: str = "AUTO"
    number_b_frames_between_reference_frames: int | None = None


class FrameCaptureSettings(_DocumentModel):
    framerate_numerator: int = 1
    framerate_denominator: int = 1
    max_captures: int = 10_000_000
    quality: int = 80


class VideoCodecSettings(_DocumentModel):
    codec: str | None = None
    h264_settings: H264Settings | None = None
    frame_capture_settings: FrameCaptureSettings | None = None


class Deinterlacer(_DocumentModel):
    mode: str = "DEINTERLACE"


class ColorCorrector(_DocumentModel):
    color_space_conversion: str = "NONE"


class VideoPreprocessor(_DocumentModel):
    deinterlacer: Deinterlacer | None = None
    color_corrector: ColorCorrector | None = None


class VideoDescription(_DocumentModel):
    width: int | None = None
    height: int | None = None
    scaling_behavior: str = "DEFAULT"
    codec_settings: VideoCodecSettings = VideoCodecSettings()
    video_preprocessors: VideoPreprocessor | None = None


class AacSettings(_DocumentModel):
    bitrate: int | None = None
    sample_rate: int | None = None
    coding_mode: str | None = None
    codec_profile: str = "LC"
    rate_control_mode: str = "CBR"


class AudioCodecSettings(_DocumentModel):
    codec: str | None = None
    aac_settings: AacSettings | None = None


class OutputChannelMapping(_DocumentModel):
    input_channels: tuple[float, ...] = ()
    input_channels_fine_tune: tuple[float, ...] = ()


class ChannelMapping(_DocumentModel):
    output_channels: tuple[OutputChannelMapping, ...] = ()


class RemixSettings(_DocumentModel):
    channels_in: int = 0
    channels_out: int = 0
    channel_mapping: ChannelMapping = ChannelMapping()

    @property
    def gains(self) -> tuple[tuple[float, ...], ...]:
        """The gains in dB: a row for each output channel, with a value for each input channel."""
        rows = self.channel_mapping.output_channels
        return tuple(row.input_channels_fine_tune or row.input_channels for row in rows)


class AudioDescription(_DocumentModel):
    audio_source_name: str | None = None
    remix_settings: RemixSettings | None = None
    codec_settings: AudioCodecSettings = AudioCodecSettings()


class HlsSettings(_DocumentModel):
    i_frame_only_manifest: str = "EXCLUDE"


class OutputSettings(_DocumentModel):
    hls_settings: HlsSettings = HlsSettings()


class AudioDurationSettings(_DocumentModel):
    """The members that M3u8Settings and Mp4Settings share."""

    audio_duration: str = "DEFAULT_CODEC_DURATION"


class ContainerSettings(_DocumentModel):
    container: str | None = None
    m3u8_settings: AudioDurationSettings = Field(AudioDurationSettings(), alias="M3u8Settings")
    mp4_settings: AudioDurationSettings = AudioDurationSettings()


class Output(_DocumentModel):
    name_modifier: str = ""
    extension: str | None = None
    container_settings: ContainerSettings = ContainerSettings()
    video_description: VideoDescription | None = None
    audio_descriptions: tuple[AudioDescription, ...] = ()
    output_settings: OutputSettings = OutputSettings()

    @property
    def matches_video(self) -> bool:
        """Whether the sound must last as long as the picture."""
        container = self.container_settings
        settings = container.m3u8_settings if container.container == "M3U8" else container.mp4_settings
        return settings.audio_duration == "MATCH_VIDEO_DURATION"


class HlsGroupSettings(_DocumentModel):
    destination: str | None = None
    segment_length: int | None = None
    min_segment_length: int | None = None
    codec_specification: str = "RFC_4281"


class FileGroupSettings(_DocumentModel):
    destination: str | None = None


class OutputGroupSettings(_DocumentModel):
    type: str | None = None
    hls_group_settings: HlsGroupSettings | None = None
    file_group_settings: FileGroupSettings | None = None


class OutputGroup(_DocumentModel):
    output_group_settings: OutputGroupSettings = OutputGroupSettings()
    outputs: tuple[Output, ...] = ()

    @property
    def destination(self) -> str | None:
        """The address `s3://bucket/…` of a group of either type."""
        settings = self.output_group_settings
        group = settings.hls_group_settings if settings.type == "HLS_GROUP_SETTINGS" else settings.file_group_settings
        return group.destination if group else None


class AudioSelector(_DocumentModel):
    selector_type: str = "TRACK"
    tracks: tuple[int, ...] = ()
    streams: tuple[int, ...] = ()


class VideoSelector(_DocumentModel):
    rotate: str = "DEGREE_0"
    pad_video: str = "DISABLED"
    color_space: str = "FOLLOW"
    color_space_usage: str = "FORCE"


class Input(_DocumentModel):
    file_input: str | None = None
    audio_selectors: dict[str, AudioSelector] = Field(default_factory=dict)
    video_selector: VideoSelector = VideoSelector()


class JobSettings(_DocumentModel):
    inputs: tuple[Input, ...] = ()
    output_groups: tuple[OutputGroup, ...] = ()


class JobRequest(_DocumentModel):
    """A CreateJob request. `settings` keeps the whole document, which GetJob returns."""

    role: str = ""
    client_request_token: str | None = None
    queue: str | None = None
    status_update_interval: str = "SECONDS_60"
    user_metadata: dict[str, str] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)

    @property
    def job_settings(self) -> JobSettings:
        return JobSettings.model_validate(self.settings)
