"""The one ffmpeg command of a job: one decode, a filter graph that splits, and an encoder for each output."""

import math

from deploy.local.mediaconvert.plan import Audio, Capture, OutputPlan, Picture, Plan, Video
from deploy.local.mediaconvert.probe import OPEN, Source

PRESET = "veryfast"
"""A stand-in is judged by its speed; the bit rates still hold."""
FIRST_SEGMENT = 1
ROTATIONS = {"DEGREES_90": "transpose=clock", "DEGREES_180": "hflip,vflip", "DEGREES_270": "transpose=cclock"}
MAX_ERROR_RATE = "0.3"
"""Of the frames that fail to decode, after which ffmpeg gives up."""


def arguments(ffmpeg: str, input_name: str, plan: Plan, source: Source) -> list[str]:
    """The arguments, to be run in the directory of the input; progress goes to standard output."""
    argv = [ffmpeg, "-nostdin", "-hide_banner", "-y", "-loglevel", "error", "-nostats", "-progress", "pipe:1"]
    argv += ["-max_error_rate", MAX_ERROR_RATE]
    if plan.rotate != "AUTO":
        argv.append("-noautorotate")
    argv += [*OPEN, "-i", f"file:{input_name}"]
    pictured = [output for output in plan.outputs if output.video]
    if pictured:
        argv += ["-filter_complex", _graph(pictured, plan.rotate)]
    for output in plan.outputs:
        argv += _output(output, source)
    return argv


def _graph(outputs: list[OutputPlan], rotate: str) -> str:
    """`[0:v:0]` turned upright, split, and each branch brought to its rate and size."""
    turn = f"{ROTATIONS[rotate]}," if rotate in ROTATIONS else ""
    ends = "".join(f"[s{number}]" for number, _ in enumerate(outputs))
    # V picks the first stream that is no cover picture.
    branches = [f"[0:V:0]{turn}split={len(outputs)}{ends}"]
    for number, output in enumerate(outputs):
        branches.append(f"[s{number}]{_branch(output)}[{output.local}]")
    return ";".join(branches)


def _branch(output: OutputPlan) -> str:
    if isinstance(output.video, Capture):
        rate = output.video.rate
        step = rf"floor(%s*{rate.numerator}/{rate.denominator}+0.001)"
        pick = rf"isnan(prev_selected_t)+gt({step % 't'}\,{step % 'prev_selected_t'})"
        return f"select='{pick}',{_scale(output.video.picture, full_range=True)},format=yuvj420p"
    if not isinstance(output.video, Video):
        raise TypeError("an output without a picture has no branch")
    deinterlace = "bwdif=mode=send_frame:deint=interlaced," if output.video.deinterlace else ""
    rate = output.video.rate
    return (
        f"{deinterlace}fps={rate.numerator}/{rate.denominator},"
        f"{_scale(output.video.picture, full_range=False)},format=yuv420p"
    )


def _scale(picture: Picture, *, full_range: bool) -> str:
    target = f"out_range={'pc' if full_range else 'tv'}"
    if picture.fit == "exact":
        return f"scale={picture.width}:{picture.height}:{target},setsar=1"
    # Square pixels first, or the aspect that is kept would be the wrong one.
    return (
        f"scale=iw*sar:ih,setsar=1,scale={picture.width}:{picture.height}:{target}"
        ":force_original_aspect_ratio=decrease:force_divisible_by=2,"
        f"pad={picture.width}:{picture.height}:-1:-1,setsar=1"
    )


def _output(output: OutputPlan, source: Source) -> list[str]:
    argv: list[str] = ["-map_metadata", "-1", "-map_chapters", "-1", "-dn", "-sn"]
    if output.video:
        argv += ["-map", f"[{output.local}]"]
    if isinstance(output.video, Video):
        argv += _h264(output.video)
    if output.audio:
        argv += _aac(output.audio, anchored=source.video is not None)
    if isinstance(output.video, Capture):
        return argv + _stills(output, output.video)
    return argv + (_hls(output) if output.segment_length else _mp4(output))


def _h264(video: Video) -> list[str]:
    frames = math.ceil(video.gop * float(video.rate))
    rate = ["-crf", str(video.crf), "-maxrate", str(video.bitrate)] if video.crf else ["-b:v", str(video.bitrate)]
    return [
        *("-c:v", "libx264", "-preset", PRESET, "-profile:v", video.profile, *rate),
        *("-bufsize", str(2 * video.bitrate), "-sc_threshold", "0", "-forced-idr", "1"),
        # Times rather than counts, so that the key frames of rungs with different rates still meet.
        *("-force_key_frames", f"expr:gte(t,n_forced*{video.gop:g})"),
        *("-g", str(frames), "-keyint_min", str(frames)),
    ]


def _aac(audio: Audio, *, anchored: bool) -> list[str]:
    argv = ["-map", f"0:a:{audio.track}", "-c:a", "aac", "-profile:a", "aac_low", "-b:a", str(audio.bitrate)]
    argv += ["-ar", str(audio.sample_rate), "-ac", str(audio.channels)]
    if anchored:
        # Gaps become silence, so that sound stays with its picture.
        argv += ["-af", "aresample=async=1:first_pts=0"]
    return argv


def _hls(output: OutputPlan) -> list[str]:
    return [
        *("-f", "hls", "-hls_time", f"{output.segment_length:g}", "-hls_playlist_type", "vod", "-hls_list_size", "0"),
        *("-hls_flags", "independent_segments", "-start_number", str(FIRST_SEGMENT)),
        *("-hls_segment_filename", f"{output.local}_%05d.ts", f"{output.local}.m3u8"),
    ]


def _mp4(output: OutputPlan) -> list[str]:
    return ["-movflags", "+faststart", "-f", "mp4", f"{output.local}.mp4"]


def _stills(output: OutputPlan, capture: Capture) -> list[str]:
    scale = 31 - round(capture.quality * 29 / 100)
    return [
        *("-fps_mode", "passthrough", "-c:v", "mjpeg", "-q:v", str(scale), "-frames:v", str(capture.count)),
        *("-start_number", "0", "-f", "image2", f"{output.local}.%07d.jpg"),
    ]
