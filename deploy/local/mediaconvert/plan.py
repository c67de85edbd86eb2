"""The plan of a job: exact outputs, with sizes, rates and names, from its document and the probed source."""

from fractions import Fraction
from pathlib import PurePosixPath

from deploy.local.mediaconvert import errors
from deploy.local.mediaconvert.document import (
    AudioSelector,
    FrameCaptureSettings,
    H264Settings,
    Input,
    JobSettings,
    Output,
    OutputGroup,
    VideoDescription,
)
from deploy.local.mediaconvert.planned import (
    Audio,
    Capture,
    GroupPlan,
    OutputPlan,
    Padding,
    Picture,
    Plan,
    Video,
)
from deploy.local.mediaconvert.probe import HDR, Source, require_known
from deploy.local.mediaconvert.semantics import CHANNELS

AUTO_GOP = 2.0
"""Seconds of a GOP whose length the job leaves to the service."""

CRF = {1: 35, 2: 33, 3: 31, 4: 29, 5: 27, 6: 25, 7: 23, 8: 21, 9: 19, 10: 17}
"""x264's constant rate factor that looks about like each QVBR level."""


def make_plan(settings: JobSettings, source: Source) -> Plan:
    """Decide every output. Raises JobFailedError for an output that the source cannot provide."""
    planner = _Planner(settings.inputs[0], source)
    groups = tuple(planner.group(index, group) for index, group in enumerate(settings.output_groups))
    return Plan(groups, planner.turn, tuple(planner.warnings), planner.colors)


def split_address(address: str) -> tuple[str, str]:
    """Split `s3://bucket/key` into bucket and key."""
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return bucket, key


COLORS = {"REC_601": "smpte170m", "REC_709": "bt709"}
"""ffmpeg's names of the color spaces that are implemented."""


class _Planner:
    def __init__(self, source_input: Input, source: Source) -> None:
        self.source_input = source_input
        self.source = source
        self.warnings: list[str] = []
        rotate = source_input.video_selector.rotate
        # The service reads the rotation of MOV and MP4 alone.
        self.rotate = "DEGREE_0" if rotate == "AUTO" and not source.mov else rotate
        by_itself = source.video.turn if source.video else 0
        black = source_input.video_selector.pad_video == "BLACK" and source.duration > 0
        self.padding = Padding(source.late, source.duration, source.rate) if black else None
        told = source_input.video_selector.color_space_usage == "FORCE" or not (
            source.video and source.video.color_space
        )
        self.colors = COLORS.get(source_input.video_selector.color_space, "") if told else ""
        self.turn = 0 if self.rotate == "AUTO" else (int(self.rotate.rpartition("_")[2]) - by_itself) % 360

    def group(self, index: int, group: OutputGroup) -> GroupPlan:
        bucket, name = split_address(group.destination or "")
        if not name or name.endswith("/"):
            # Without a file name of its own, an output has that of the input.
            name += PurePosixPath(self.source_input.file_input or "").stem
        hls = group.output_group_settings.type == "HLS_GROUP_SETTINGS"
        settings = group.output_group_settings.hls_group_settings
        length = settings.segment_length if hls and settings else None
        outputs = tuple(
            self.output(output, f"g{index}o{number}", name, length) for number, output in enumerate(group.outputs)
        )
        return GroupPlan("HLS_GROUP" if hls else "FILE_GROUP", bucket, name, outputs)

    def output(self, output: Output, local: str, name: str, segment_length: float | None) -> OutputPlan:
        video = self.video(output.video_description) if output.video_description else None
        audio = self.audio(output, alone=video is None) if output.audio_descriptions else None
        default = {"M3U8": "m3u8", "RAW": "jpg"}.get(output.container_settings.container or "", "mp4")
        return OutputPlan(
            local=local,
            name=name + output.name_modifier,
            extension=default if segment_length else output.extension or default,
            video=video,
            audio=audio,
            segment_length=segment_length,
            iframes=output.output_settings.hls_settings.i_frame_only_manifest != "EXCLUDE" and isinstance(video, Video),
        )

    def video(self, description: VideoDescription) -> Video | Capture:
        if self.source.video is None:
            raise errors.JobFailedError(
                errors.NO_VIDEO,
                f"Your input file [{self.source_input.file_input}] doesn't have video that the transcoder can consume.",
            )
        require_known(self.source.video)
        picture = self.picture(description)
        if description.codec_settings.codec == "FRAME_CAPTURE":
            settings = description.codec_settings.frame_capture_settings or FrameCaptureSettings()
            return self.capture(description, settings, picture)
        return self.h264(description, description.codec_settings.h264_settings or H264Settings(), picture)

    def h264(self, description: VideoDescription, settings: H264Settings, picture: Picture) -> Video:
        specified = settings.framerate_control == "SPECIFIED"
        rate = (
            Fraction(settings.framerate_numerator or 30, settings.framerate_denominator or 1)
            if specified
            else self.source.rate
        )
        qvbr = settings.rate_control_mode == "QVBR"
        level = settings.qvbr_settings.qvbr_quality_level if settings.qvbr_settings else 7
        return Video(
            picture=picture,
            rate=rate,
            gop=_gop(settings, rate),
            b_frames=settings.number_b_frames_between_reference_frames,
            profile={"BASELINE": "baseline", "MAIN": "main"}.get(settings.codec_profile, "high"),
            crf=CRF[level] if qvbr else None,
            bitrate=(settings.max_bitrate if qvbr else settings.bitrate) or 5_000_000,
            deinterlace=_deinterlaces(description),
            tone_map=self.tone_maps(description),
            padding=self.padding,
        )

    def capture(self, description: VideoDescription, settings: FrameCaptureSettings, picture: Picture) -> Capture:
        return Capture(
            picture=picture,
            rate=Fraction(settings.framerate_numerator, settings.framerate_denominator),
            count=settings.max_captures,
            quality=settings.quality,
            deinterlace=_deinterlaces(description),
            tone_map=self.tone_maps(description),
            padding=self.padding,
        )

    def tone_maps(self, description: VideoDescription) -> bool:
        before = description.video_preprocessors
        corrector = before.color_corrector if before else None
        wanted = corrector is not None and corrector.color_space_conversion == "FORCE_709"
        return wanted and self.source.video is not None and self.source.video.color_transfer in HDR

    def picture(self, description: VideoDescription) -> Picture:
        width, height = self.source.display_size(upright=self.rotate == "AUTO")
        if self.rotate in {"DEGREES_90", "DEGREES_270"}:
            width, height = height, width
        if description.width and description.height:
            stretched = description.scaling_behavior == "STRETCH_TO_OUTPUT"
            return Picture(description.width, description.height, "exact" if stretched else "bars")
        if description.height:
            return Picture(_even(width * description.height / height), description.height, "exact")
        if description.width:
            return Picture(description.width, _even(height * description.width / width), "exact")
        if round(width) % 2 or round(height) % 2:
            raise errors.JobFailedError(
                errors.INCOMPATIBLE,
                f"Invalid resolution [{round(width)} x {round(height)}], only even values are supported.",
            )
        return Picture(round(width), round(height), "exact")

    def audio(self, output: Output, *, alone: bool) -> Audio | None:
        description = output.audio_descriptions[0]
        names = self.source_input.audio_selectors
        selector = names.get(description.audio_source_name or "") or next(iter(names.values()), AudioSelector())
        track = self.track(selector)
        if track >= len(self.source.audio):
            self.no_audio(track, named=bool(selector.tracks or selector.streams), alone=alone)
            return None
        require_known(self.source.audio[track])
        aac = description.codec_settings.aac_settings
        if aac is None:
            raise errors.JobFailedError(errors.INCOMPATIBLE, "An audio description has no aacSettings.")
        remix = description.remix_settings
        present = self.source.audio[track].channels
        return Audio(
            track=track,
            bitrate=aac.bitrate or 96_000,
            sample_rate=aac.sample_rate or 48_000,
            channels=CHANNELS[aac.coding_mode or ""],
            gains=tuple(row[:present] for row in remix.gains) if remix else (),
            lasts=0.0
            if alone or not output.matches_video
            else self.padding.until
            if self.padding
            else self.source.shown,
        )

    def track(self, selector: AudioSelector) -> int:
        """Find the number among the audio tracks, from 0. The selector counts streams among all tracks, from 1."""
        if selector.selector_type != "STREAM":
            return selector.tracks[0] - 1 if selector.tracks else 0
        indices = [stream.index + 1 for stream in self.source.audio]
        wanted = selector.streams[0] if selector.streams else 0
        return indices.index(wanted) if wanted in indices else len(indices)

    def no_audio(self, track: int, *, named: bool, alone: bool) -> None:
        if named:
            raise errors.JobFailedError(
                errors.INCOMPATIBLE,
                "Invalid audio track specified for audio_selector [1]. "
                f"Audio track [{track + 1}] not found in input container.",
            )
        message = f"No audio frames decoded on [selector-(Audio Selector 1)-track-{track + 1}-drc]"
        if alone:
            raise errors.JobFailedError(errors.NO_AUDIO, message)
        if message not in self.warnings:
            self.warnings.append(message)


def _deinterlaces(description: VideoDescription) -> bool:
    before = description.video_preprocessors
    return before is not None and before.deinterlacer is not None


def _gop(settings: H264Settings, rate: Fraction) -> float:
    if settings.gop_size_units == "AUTO" or not settings.gop_size:
        return AUTO_GOP
    return settings.gop_size if settings.gop_size_units == "SECONDS" else settings.gop_size / float(rate)


def _even(size: Fraction) -> int:
    return max(2, 2 * round(size / 2))
