"""Probed sources for tests of planning."""

from dataclasses import replace
from fractions import Fraction

from handlers.transcode.probing.audio_track import AudioTrack
from handlers.transcode.probing.video_track import Probed, VideoTrack

VIDEO = VideoTrack(
    index=0,
    codec="h264",
    profile="High",
    width=1920,
    height=1080,
    coded_width=1920,
    coded_height=1080,
    rotation=0,
    begins=0.0,
    anamorphic=False,
    frame_rate=Fraction(25),
    variable_rate=False,
    interlaced=False,
    pixel_format="yuv420p",
    color_transfer="bt709",
    hdr=False,
)
STEREO = AudioTrack(1, 1, "aac", 2, "stereo", 44_100, "eng", default=True)
SURROUND = replace(STEREO, channels=6, layout="5.1")
MONO = replace(STEREO, channels=1, layout="mono")


def source(
    width: int = 1920,
    height: int = 1080,
    *,
    audio: tuple[AudioTrack, ...] = (STEREO,),
    duration: float = 60.0,
    container: str = "mov,mp4,m4a,3gp,3g2,mj2",
    video: VideoTrack = VIDEO,
) -> Probed:
    track = replace(video, width=width, height=height)
    return Probed(container=container, duration=duration, video=track, audio=audio, subtitles=())


def audio_only(*tracks: AudioTrack) -> Probed:
    return Probed(container="mp3", duration=60.0, video=None, audio=tracks or (STEREO,), subtitles=())
