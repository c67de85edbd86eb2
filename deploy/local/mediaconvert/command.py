"""The one ffmpeg command of a job: one decode, a filter graph that splits, and an encoder for each output."""

import math
from fractions import Fraction

from deploy.local.mediaconvert.planned import Audio, Capture, OutputPlan, Padding, Picture, Plan, Video
from deploy.local.mediaconvert.probe import OPEN, Source
from handlers.transcode.ffmpeg.errors import MAX_DAMAGE

PRESET = "veryfast"
"""x264's preset: a stand-in must be fast, and the bit rates still hold."""
FIRST_SEGMENT = 1
BT2020 = "setparams=color_primaries=bt2020:colorspace=bt2020nc"
"""The color space of HDR, set even for sources that name none: zscale cannot convert from an unknown one."""
TONE_MAPS = {
    "zscale": f"{BT2020},zscale=t=linear:npl=100,format=gbrpf32le,tonemap=hable,"
    "zscale=p=bt709:t=bt709:m=bt709:r=tv,format=yuv420p,",
    "scale": f"{BT2020},scale=out_color_matrix=bt709:out_primaries=bt709:out_transfer=bt709:"
    "out_range=tv,format=yuv420p,",
}
"""Conversion from HDR to SDR, by filter. ffmpeg's scaler can do it since 7.1; builds without zscale are that new."""
ROTATIONS = {0: "", 90: "transpose=clock,", 180: "hflip,vflip,", 270: "transpose=cclock,"}
"""Filters by degrees of clockwise rotation."""
LATE = 0.1
"""Seconds behind the start of the source from which sound counts as late."""
APART = 0.25
"""Seconds that sound may end before its picture without being padded."""


def arguments(ffmpeg: str, input_name: str, plan: Plan, source: Source, *, tone_map: str = "") -> list[str]:
    """Build the command line, to be run in the directory of the input. Progress goes to standard output.

    `tone_map` is one of TONE_MAPS' filters where the plan wants one.
    """
    argv = [ffmpeg, "-nostdin", "-hide_banner", "-y", "-loglevel", "error", "-nostats", "-progress", "pipe:1"]
    argv += ["-max_error_rate", str(MAX_DAMAGE)]
    is_upright = source.video is not None and not (plan.turn or source.video.turn)
    if is_upright and not any(output.video and output.video.deinterlace for output in plan.outputs):
        # Since ffmpeg 7, a graph that starts again for another picture size loses the frames that it holds.
        argv += ["-reinit_filter:v", "0"]
    argv += [*OPEN, "-i", f"file:{input_name}"]
    with_video = [output for output in plan.outputs if output.video]
    if with_video:
        argv += ["-filter_complex", _graph(with_video, plan, tone_map)]
    for output in plan.outputs:
        argv += _output(output, source)
    return argv


def _graph(outputs: list[OutputPlan], plan: Plan, tone_map: str) -> str:
    """Build the filter graph: `[0:v:0]` turned upright, split, and each branch brought to its rate and size."""
    ends = "".join(f"[s{number}]" for number, _ in enumerate(outputs))
    # V picks the first stream that is no cover picture.
    names = plan.colors
    colors = f"setparams=color_primaries={names}:color_trc={names}:colorspace={names}," if names else ""
    branches = [f"[0:V:0]{ROTATIONS[plan.turn]}{colors}split={len(outputs)}{ends}"]
    for number, output in enumerate(outputs):
        deinterlace = "bwdif=mode=send_frame:deint=interlaced," if output.video and output.video.deinterlace else ""
        mapped = tone_map if output.video and output.video.tone_map else ""
        branches.append(f"[s{number}]{deinterlace}{mapped}{_branch(output)}[{output.local}]")
    return ";".join(branches)


def _branch(output: OutputPlan) -> str:
    if isinstance(output.video, Capture):
        rate = output.video.rate
        step = rf"floor(%s*{rate.numerator}/{rate.denominator}+0.001)"
        pick = rf"isnan(prev_selected_t)+gt({step % 't'}\,{step % 'prev_selected_t'})"
        filled = _padded(output.video.padding) if output.video.padding else ""
        return f"{filled}select='{pick}',{_scale(output.video.picture, full_range=True)},format=yuvj420p"
    if not isinstance(output.video, Video):
        raise TypeError("an output without a picture has no branch")
    rate = output.video.rate
    filled = _padded(output.video.padding) if output.video.padding else _constant(rate)
    return f"{filled}{_scale(output.video.picture, full_range=False)},format=yuv420p"


def _constant(rate: Fraction) -> str:
    return f"fps={rate.numerator}/{rate.denominator},"


def _padded(padding: Padding) -> str:
    """Add black before the picture and after it, and make the rate constant."""
    # In this order: behind `setpts` the rate is unknown since ffmpeg 7, and pads then without end.
    before = f"setpts=PTS-STARTPTS,{_constant(padding.rate)}tpad=start_duration={padding.before:.3f}:start_mode=add:"
    return f"{before}stop=-1:stop_mode=add:color=black,trim=end={padding.until:.3f},"


def _scale(picture: Picture, *, full_range: bool) -> str:
    # A JPEG has no matrix of its own: whoever shows it takes BT.601.
    target = f"out_range={'pc:out_color_matrix=bt601' if full_range else 'tv'}"
    if picture.fit == "exact":
        return f"scale={picture.width}:{picture.height}:{target},setsar=1"
    # Square pixels first, or the wrong aspect would be kept.
    return (
        f"scale=iw*sar:ih,setsar=1,scale={picture.width}:{picture.height}:{target}"
        ":force_original_aspect_ratio=decrease:force_divisible_by=2,"
        f"pad={picture.width}:{picture.height}:-1:-1,setsar=1"
    )


def _output(output: OutputPlan, source: Source) -> list[str]:
    argv: list[str] = ["-map_metadata", "-1", "-map_chapters", "-1", "-dn", "-sn"]
    # The service's outputs have one clock. Sound must wait for a picture that stands still.
    argv += ["-max_interleave_delta", "0"]
    if output.video:
        argv += ["-map", f"[{output.local}]"]
    if isinstance(output.video, Video):
        argv += _h264(output.video)
    if output.audio:
        argv += _aac(output.audio, source)
    if isinstance(output.video, Capture):
        return argv + _stills(output, output.video)
    if output.segment_length:
        return argv + _hls(output)
    return [*argv, "-movflags", "+faststart", "-f", "mp4", f"{output.local}.mp4"]


def _h264(video: Video) -> list[str]:
    frames = math.ceil(video.gop * float(video.rate))
    rate = ["-crf", str(video.crf), "-maxrate", str(video.bitrate)] if video.crf else ["-b:v", str(video.bitrate)]
    return [
        *("-c:v", "libx264", "-preset", PRESET, "-profile:v", video.profile, *rate),
        *("-bufsize", str(2 * video.bitrate), "-sc_threshold", "0", "-forced-idr", "1"),
        # Times rather than counts, so that the key frames of rungs with different rates still meet.
        *("-force_key_frames", f"expr:gte(t,n_forced*{video.gop:g})"),
        *("-g", str(frames), "-keyint_min", str(frames)),
        *(() if video.b_frames is None else ("-bf", str(video.b_frames))),
    ]


def _aac(audio: Audio, source: Source) -> list[str]:
    argv = ["-map", f"0:a:{audio.track}", "-c:a", "aac", "-profile:a", "aac_low", "-b:a", str(audio.bitrate)]
    argv += ["-ar", str(audio.sample_rate), "-ac", str(audio.channels)]
    filters = []
    if audio.gains:
        gains = (enumerate(row) for row in audio.gains)
        rows = ["+".join(f"{10 ** (gain / 20):.5f}*c{channel}" for channel, gain in row) for row in gains]
        filters.append("|".join([f"pan={audio.channels}c", *(f"c{channel}={row}" for channel, row in enumerate(rows))]))
    if source.video is not None:
        # Gaps become silence, so that sound stays with its picture, and so does a late start. `first_pts` is set for a
        # late start only: if the channels change in the middle, ffmpeg restarts all filters and would fill up again.
        late = source.audio[audio.track].start_time - source.begins > LATE
        filters.append(f"aresample=async=1{':first_pts=0' if late else ''}")
    # Padded only if needed: if the channels change in the middle, ffmpeg would pad twice.
    end = source.audio[audio.track].end
    if audio.lasts and (not end or audio.lasts - (end - source.begins) > APART):
        filters.append(f"apad=whole_dur={audio.lasts:.3f}")
    if audio.lasts and source.mov:
        # Only MP4 states for certain how long a picture lasts. From other containers all sound is kept.
        filters.append(f"atrim=end={audio.lasts:.3f}")
    return argv + (["-af", ",".join(filters)] if filters else [])


def _hls(output: OutputPlan) -> list[str]:
    return [
        *("-f", "hls", "-hls_time", f"{output.segment_length:g}", "-hls_playlist_type", "vod", "-hls_list_size", "0"),
        *("-hls_flags", "independent_segments", "-start_number", str(FIRST_SEGMENT)),
        *("-hls_segment_filename", f"{output.local}_%05d.ts", f"{output.local}.m3u8"),
    ]


def _stills(output: OutputPlan, capture: Capture) -> list[str]:
    scale = 31 - round(capture.quality * 29 / 100)
    return [
        *("-fps_mode", "passthrough", "-c:v", "mjpeg", "-q:v", str(scale), "-frames:v", str(capture.count)),
        *("-start_number", "0", "-f", "image2", f"{output.local}.%07d.jpg"),
    ]
