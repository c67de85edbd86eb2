"""The one ffmpeg command that a plan becomes: one decode, one encoder for each rung, one for all sound. Pure.

Every frame is decoded once, brought to the plan's rate once, and scaled from the rung above it. Each rung is encoded
once: the MP4 takes the packets of the largest one, and all HLS variants share one sound encoder, through the tee muxer.

Segment names and times follow from the plan alone, so that a span of the source could be made by a command of its own.
"""

import math

from handlers.transcode.packaging.outputs import other_name, variant_name
from handlers.transcode.planning.names import DOWNMIX, M4A_NAME, MP4_NAME, POSTER_NAME
from handlers.transcode.planning.plan import GOP_SECONDS, SEGMENT_SECONDS, AudioPlan, Plan, Poster, Rung
from handlers.transcode.probing.allowed_formats import CODEC_WHITELIST, FORMAT_WHITELIST

PRESET = "veryfast"
"""x264's. `python -m tests.bench.transcode` prints what it costs in likeness; slower ones cost a multiple in CPU."""
QUALITY = {7: 23, 8: 21}
"""x264's constant rate factor for each quality level of the ladder; the rung's largest bit rate caps it."""
BUFFER_SECONDS = 2
"""Of the largest bit rate: how long a rung may be above it. Segments are 6 s, so their peaks stay close."""
MAX_PIXELS = 8192 * 8192
SILENCE = 60
"""Seconds without a byte from our own loopback proxy; S3 itself gets less."""
MAX_ERROR_RATE = "0.3"
"""Of the frames that fail to decode, after which ffmpeg gives up."""
JPEG_SCALE = 5
"""ffmpeg's quality of the poster, 2 is best; 5 looks like the 80 of 100 that MediaConvert is asked for."""
BT2020 = "setparams=color_primaries=bt2020:colorspace=bt2020nc"
"""What HDR is coded in, whether the source says so or not; zscale finds no way from what it is not told."""
TONE_MAPS = {
    "zscale": f"{BT2020},zscale=t=linear:npl=100,format=gbrpf32le,tonemap=hable,"
    "zscale=p=bt709:t=bt709:m=bt709:r=tv,format=yuv420p",
    "scale": f"{BT2020},scale=out_color_matrix=bt709:out_primaries=bt709:out_transfer=bt709:"
    "out_range=tv,format=yuv420p",
}
"""HDR to SDR by filter. ffmpeg's own scaler knows transfer functions since 7.1; builds without zscale are that new."""


def arguments(plan: Plan, *, program: str, source: str, tone_map: str = "") -> list[str]:
    """The command, to be run in an empty folder. `source` is an http address on the loopback, or a local file.

    Progress goes to standard output, twice a second. `tone_map` names one of TONE_MAPS where the plan wants one.
    """
    argv = [program, "-nostdin", "-hide_banner", "-y", "-loglevel", "error", "-nostats", "-progress", "pipe:1"]
    argv += ["-max_error_rate", MAX_ERROR_RATE, *_input(source)]
    if plan.rungs:
        argv += ["-filter_complex", _graph(plan, tone_map)]
    argv += ["-map_metadata", "-1", "-map_chapters", "-1", "-dn", "-sn"]
    for number, rung in enumerate(plan.rungs):
        argv += ["-map", f"[v{number}]", *_h264(number, rung, plan)]
    for number, sound in enumerate(_sounds(plan)):
        argv += _aac(number, sound, plan)
    # MP4 wants the parameter sets in its header; what segments need of them the muxers put back.
    # The graph makes the rate constant; what it repeats where it begins anew must not push all that follows back.
    argv += ["-fps_mode", "vfr", "-flags", "+global_header", "-f", "tee", _tee(plan)]
    return argv + (_stills(plan.poster) if plan.poster else [])


def largest_file(plan: Plan) -> int:
    """Bytes that the largest local file may have: the MP4, at the largest bit rate throughout, and half as much again.

    The segments beside it are uploaded and deleted as they are finished.
    """
    sound = plan.sound.bitrate if plan.sound else 0
    rate = sound + (plan.best.max_bitrate if plan.best else 0)
    return round(rate / 8 * plan.duration_ms / 1000 * 1.5) + 64 * 1024 * 1024


def _input(source: str) -> list[str]:
    """Options that keep ffmpeg on this one source, as for ffprobe; a redirect or a playlist leads nowhere."""
    walls = ["-format_whitelist", FORMAT_WHITELIST, "-codec_whitelist", CODEC_WHITELIST]
    walls += ["-max_pixels", str(MAX_PIXELS)]
    if source.startswith("http://127.0.0.1:"):
        remote = ["-rw_timeout", str(SILENCE * 1_000_000), "-seekable", "1", "-max_redirects", "0"]
        return [*walls, "-protocol_whitelist", "http,tcp", *remote, "-i", source]
    return [*walls, "-protocol_whitelist", "file", "-i", f"file:{source}"]


def _graph(plan: Plan, tone_map: str) -> str:
    """Upright (ffmpeg's own doing), one rate, then down the ladder from the largest rung to the smallest."""
    last = len(plan.rungs) - 1
    # V picks the first stream that is no cover picture. A picture that begins late stands still until it does. That is
    # asked for only then: where the size changes in the middle, ffmpeg begins the graph anew and would fill up from 0.
    late = ":start_time=0" if plan.late_picture else ""
    steps = ["bwdif=mode=send_frame:deint=interlaced"] if plan.deinterlace else []
    steps += [f"fps={plan.fps_numerator}/{plan.fps_denominator}{late}", *_standing(plan), _scale(plan.rungs[last])]
    steps += [TONE_MAPS[tone_map]] if plan.tone_map and tone_map else []
    chains = [f"[0:V:0]{','.join(steps)},format=yuv420p,{_split(last, poster=plan.poster is not None)}"]
    chains += [
        f"[d{number + 1}]{_scale(plan.rungs[number])},{_split(number, poster=False)}"
        for number in reversed(range(last))
    ]
    return ";".join([*chains, *([_capture(plan.poster)] if plan.poster else [])])


def _standing(plan: Plan) -> list[str]:
    """A picture that ends before the sound stands still until that ends."""
    return ["tpad=stop=-1:stop_mode=clone", f"trim=end={_whole(plan)}"] if plan.short_picture else []


def _whole(plan: Plan) -> str:
    """Seconds."""
    return f"{plan.duration_ms / 1000:.3f}"


def _split(number: int, *, poster: bool) -> str:
    """One branch to the rung's own encoder, one down to the next rung, one to the poster."""
    ends = [f"[v{number}]", *([f"[d{number}]"] if number else []), *(["[p]"] if poster else [])]
    return f"split={len(ends)}{''.join(ends)}"


def _scale(rung: Rung) -> str:
    return f"scale={rung.width}:{rung.height}:flags=bicubic:out_range=tv,setsar=1"


def _capture(poster: Poster) -> str:
    """The first frame, and the first one at or after each multiple of the poster's time."""
    # A thousandth of a step forgives what a time in floating point falls short of the multiple it stands for.
    step = f"floor(%s*1000/{poster.at}+0.001)"
    later = f"+gt({step % 't'},{step % 'prev_selected_t'})" if poster.at else ""
    return f"[p]select='eq(n,0){later}',scale=out_range=pc,format=yuvj420p[poster]"


def _h264(number: int, rung: Rung, plan: Plan) -> list[str]:
    frames = math.ceil(GOP_SECONDS * plan.fps)
    options = {
        "c": "libx264",
        "preset": PRESET,
        "profile": "high",
        "crf": QUALITY[rung.qvbr],
        "maxrate": rung.max_bitrate,
        "bufsize": BUFFER_SECONDS * rung.max_bitrate,
        # Times rather than counts alone: with 29.97 fps groups of 59 and 60 frames take turns, in all rungs alike.
        "force_key_frames": f"expr:gte(t,n_forced*{GOP_SECONDS})",
        "forced-idr": 1,
        "sc_threshold": 0,
        "g": frames,
        "keyint_min": frames,
    }
    return [word for name, value in options.items() for word in (f"-{name}:v:{number}", str(value))]


def _sounds(plan: Plan) -> list[AudioPlan]:
    """The one that goes with every picture first."""
    return [plan.sound, *plan.others] if plan.sound else []


def _aac(number: int, sound: AudioPlan, plan: Plan) -> list[str]:
    filters = []
    gains = DOWNMIX.get(sound.source_layout)
    if gains and sound.downmix:
        filters.append(_pan(gains))
    if plan.rungs:
        # Gaps become silence, so that sound stays with its picture; so does what is missing at either end. That is only
        # asked for then: where the channels change in the middle, ffmpeg begins all filters anew, and fills up again.
        filters.append(f"aresample=async=1{':first_pts=0' if sound.late else ''}")
        filters += [f"apad=whole_dur={_whole(plan)}", f"atrim=end={_whole(plan)}"] if sound.short else []
    options = {"c": "aac", "profile": "aac_low", "b": sound.bitrate, "ar": sound.sample_rate, "ac": sound.channels}
    options |= {"filter": ",".join(filters)} if filters else {}
    argv = ["-map", f"0:a:{sound.number - 1}"]
    return argv + [word for name, value in options.items() for word in (f"-{name}:a:{number}", str(value))]


def _pan(gains: tuple[tuple[float, ...], ...]) -> str:
    rows = ["+".join(f"{10 ** (gain / 20):.5f}*c{channel}" for channel, gain in enumerate(row)) for row in gains]
    return "pan=stereo|" + "|".join(f"c{channel}={row}" for channel, row in enumerate(rows))


def _tee(plan: Plan) -> str:
    """Where the packets go: every variant into segments, the best one into a file too."""
    sound = ",a:0" if plan.sound else ""
    slaves = [_hls(variant_name(rung), f"v:{number}{sound}") for number, rung in enumerate(plan.rungs)]
    slaves += [_hls(other_name(other), f"a:{number}") for number, other in enumerate(plan.others, 1)]
    if plan.rungs:
        slaves.append(f"[select={_quoted(f'v:{len(plan.rungs) - 1}{sound}')}:f=mp4:movflags=+faststart]{MP4_NAME}.mp4")
    else:
        slaves.append(_hls(variant_name(None), "a"))
        slaves.append(f"[select=a:f=ipod:movflags=+faststart]{M4A_NAME}.m4a")
    return "|".join(slaves)


def _hls(name: str, streams: str) -> str:
    options = {
        "select": _quoted(streams),
        "f": "hls",
        "hls_time": SEGMENT_SECONDS,
        "hls_playlist_type": "vod",
        "hls_list_size": 0,
        # A segment has another name until it is finished: what bears its own may be uploaded.
        "hls_flags": "independent_segments+temp_file",
        "start_number": 1,
        "hls_segment_filename": f"{name}_%05d.ts",
    }
    return f"[{':'.join(f'{key}={value}' for key, value in options.items())}]{name}.m3u8"


def _quoted(streams: str) -> str:
    """The list of slaves is unquoted once before a slave's options are read."""
    return rf"\'{streams}\'"


def _stills(poster: Poster) -> list[str]:
    return [
        # As above: what comes again where the graph begins anew is dropped.
        *("-map", "[poster]", "-map_metadata", "-1", "-fps_mode", "vfr", "-c:v", "mjpeg"),
        *("-q:v", str(JPEG_SCALE), "-frames:v", str(poster.captures)),
        *("-start_number", "0", "-f", "image2", f"{POSTER_NAME}.%07d.jpg"),
    ]
