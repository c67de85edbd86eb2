"""The part of a CreateJob document that this endpoint acts on, as frozen models with boto's names as aliases."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_pascal


class Part(BaseModel):
    """The document has passed the service model by then, so that what is not read here may stay unread."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_pascal)


class H264QvbrSettings(Part):
    qvbr_quality_level: int = 7
    max_average_bitrate: int | None = None


class H264Settings(Part):
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


class FrameCaptureSettings(Part):
    framerate_numerator: int = 1
    framerate_denominator: int = 1
    max_captures: int = 10_000_000
    quality: int = 80


class VideoCodecSettings(Part):
    codec: str | None = None
    h264_settings: H264Settings | None = None
    frame_capture_settings: FrameCaptureSettings | None = None


class Deinterlacer(Part):
    mode: str = "DEINTERLACE"


class ColorCorrector(Part):
    color_space_conversion: str = "NONE"


class VideoPreprocessor(Part):
    deinterlacer: Deinterlacer | None = None
    color_corrector: ColorCorrector | None = None


class VideoDescription(Part):
    width: int | None = None
    height: int | None = None
    scaling_behavior: str = "DEFAULT"
    codec_settings: VideoCodecSettings = VideoCodecSettings()
    video_preprocessors: VideoPreprocessor | None = None


class AacSettings(Part):
    bitrate: int | None = None
    sample_rate: int | None = None
    coding_mode: str | None = None
    codec_profile: str = "LC"
    rate_control_mode: str = "CBR"


class AudioCodecSettings(Part):
    codec: str | None = None
    aac_settings: AacSettings | None = None


class OutputChannelMapping(Part):
    input_channels: tuple[float, ...] = ()
    input_channels_fine_tune: tuple[float, ...] = ()


class ChannelMapping(Part):
    output_channels: tuple[OutputChannelMapping, ...] = ()


class RemixSettings(Part):
    channels_in: int = 0
    channels_out: int = 0
    channel_mapping: ChannelMapping = ChannelMapping()

    @property
    def gains(self) -> tuple[tuple[float, ...], ...]:
        """For each output channel the gain of each input channel, in dB."""
        rows = self.channel_mapping.output_channels
        return tuple(row.input_channels_fine_tune or row.input_channels for row in rows)


class AudioDescription(Part):
    audio_source_name: str | None = None
    remix_settings: RemixSettings | None = None
    codec_settings: AudioCodecSettings = AudioCodecSettings()


class HlsSettings(Part):
    i_frame_only_manifest: str = "EXCLUDE"


class OutputSettings(Part):
    hls_settings: HlsSettings = HlsSettings()


class SoundLength(Part):
    """What M3u8Settings and Mp4Settings have in common."""

    audio_duration: str = "DEFAULT_CODEC_DURATION"


class ContainerSettings(Part):
    container: str | None = None
    m3u8_settings: SoundLength = Field(SoundLength(), alias="M3u8Settings")
    mp4_settings: SoundLength = SoundLength()


class Output(Part):
    name_modifier: str = ""
    extension: str | None = None
    container_settings: ContainerSettings = ContainerSettings()
    video_description: VideoDescription | None = None
    audio_descriptions: tuple[AudioDescription, ...] = ()
    output_settings: OutputSettings = OutputSettings()

    @property
    def matches_video(self) -> bool:
        """Whether the sound is to last as long as the picture."""
        container = self.container_settings
        settings = container.m3u8_settings if container.container == "M3U8" else container.mp4_settings
        return settings.audio_duration == "MATCH_VIDEO_DURATION"


class HlsGroupSettings(Part):
    destination: str | None = None
    segment_length: int | None = None
    min_segment_length: int | None = None
    codec_specification: str = "RFC_4281"


class FileGroupSettings(Part):
    destination: str | None = None


class OutputGroupSettings(Part):
    type: str | None = None
    hls_group_settings: HlsGroupSettings | None = None
    file_group_settings: FileGroupSettings | None = None


class OutputGroup(Part):
    output_group_settings: OutputGroupSettings = OutputGroupSettings()
    outputs: tuple[Output, ...] = ()

    @property
    def destination(self) -> str | None:
        """`s3://bucket/…`, of whichever type the group is."""
        settings = self.output_group_settings
        group = settings.hls_group_settings if settings.type == "HLS_GROUP_SETTINGS" else settings.file_group_settings
        return group.destination if group else None


class AudioSelector(Part):
    selector_type: str = "TRACK"
    tracks: tuple[int, ...] = ()
    streams: tuple[int, ...] = ()


class VideoSelector(Part):
    rotate: str = "DEGREE_0"
    pad_video: str = "DISABLED"


class Input(Part):
    file_input: str | None = None
    audio_selectors: dict[str, AudioSelector] = Field(default_factory=dict)
    video_selector: VideoSelector = VideoSelector()


class JobSettings(Part):
    inputs: tuple[Input, ...] = ()
    output_groups: tuple[OutputGroup, ...] = ()


class JobRequest(Part):
    """What CreateJob was asked. `settings` keeps the whole document, for GetJob to give back."""

    role: str = ""
    client_request_token: str | None = None
    queue: str | None = None
    status_update_interval: str = "SECONDS_60"
    user_metadata: dict[str, str] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)

    @property
    def job_settings(self) -> JobSettings:
        return JobSettings.model_validate(self.settings)
