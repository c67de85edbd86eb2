"""Builds the ffmpeg command for a plan: one decode, one encoder for each rung and each audio track. Pure.

Every frame is decoded once, brought to the plan's rate once, and scaled from the rung above it. Each rung is encoded
once: the MP4 takes the packets of the largest one, and all HLS variants share one audio encoder, through the tee muxer.

Segment names and times follow from the plan alone, so that a separate command could make a span of the source.
"""

import math

from handlers.transcode.ffmpeg.errors import MAX_DAMAGE
from handlers.transcode.packaging.outputs import alternate_audio_name, variant_name
from handlers.transcode.planning.names import M4A_NAME, MP4_NAME, POSTER_NAME
from handlers.transcode.planning.plan import GOP_SECONDS, SEGMENT_SECONDS, AudioPlan, Plan, Rung
from handlers.transcode.probing.allowed_formats import CODEC_WHITELIST, FORMAT_WHITELIST
from handlers.transcode.probing.ffprobe import PATIENCE_BYTES, PATIENCE_SECONDS

PRESET = "veryfast"
"""x264's preset. `python -m tests.bench.transcode` prints its loss of quality; slower ones take a multiple of CPU."""
QUALITY = {7: 23, 8: 21}
"""x264's constant rate factor for each quality level of the ladder. The rung's maximum bit rate caps it."""
BUFFER_SECONDS = 2
"""Size of x264's rate buffer in seconds of the maximum bit rate. Segments are 6 s, so their peaks stay close to it."""
MAX_PIXELS = 8192 * 8192
"""Pixels of one picture of the source."""
SILENCE = 60
"""Seconds without a byte from our own loopback proxy. S3 itself gets less."""
SOUND_APART = 0.03
"""Seconds by which sound may be off before it is moved. By ffmpeg's own 0.1, four lost packets of AAC are heard."""
JPEG_SCALE = 5
"""ffmpeg's JPEG quality of the poster, of which 2 is best. 5 looks like MediaConvert's 80 of 100."""
BT2020 = "setparams=color_primaries=bt2020:colorspace=bt2020nc"
"""Color primaries and matrix of HDR, set even when the source does not declare them: zscale cannot convert without."""


def _colors(name: str) -> str:
    """Return the filter that names the colors of a picture: primaries, transfer and matrix."""
    return f"setparams=color_primaries={name}:color_trc={name}:colorspace={name}"


RGB_TO_709 = (
    "scale=out_color_matrix=bt709:out_range=tv",
    "format=yuv420p",
    _colors("bt709"),
)
"""Filters from RGB to BT.709. By default the scaler takes BT.601 and says nothing, and players take BT.709."""
WIDE_TO_709 = {
    "zscale": "zscale=p=bt709:t=bt709:m=bt709:r=tv,format=yuv420p",
    "scale": "scale=out_color_matrix=bt709:out_primaries=bt709:out_transfer=bt709:out_range=tv,format=yuv420p",
}
"""Filters from P3 to BT.709, by the filter available. A JPEG cannot say that it has other colors."""
SDR_WHITE = 406
"""Nits of linear 1: twice the white of BT.2408. Browsers show HDR half as bright, to leave room for what shines."""
BROWSERS_CURVE = f"tonemap=mobius:param=0.35:desat=0:peak={1000 / SDR_WHITE:.3f}"
"""The curve that Chromium was measured to have: straight for a third, then bent to reach white at 1000 nits."""
TONE_MAPS = {
    # Browsers show the levels of BT.709 on the screen's own curve, which is that of sRGB.
    "zscale": f"{BT2020},zscale=t=linear:npl={SDR_WHITE},format=gbrpf32le,{BROWSERS_CURVE},"
    f"zscale=p=bt709:t=iec61966-2-1:m=bt709:r=tv,format=yuv420p,{_colors('bt709')}",
    "scale": f"{BT2020},scale=out_color_matrix=bt709:out_primaries=bt709:out_transfer=bt709:"
    "out_range=tv,format=yuv420p",
}
"""Filters from HDR to SDR, by the filter available. ffmpeg's own scaler knows transfer functions since 7.1, and builds
without zscale are that new."""


def arguments(plan: Plan, *, program: str, source: str, tone_map: str = "") -> list[str]:
    """Return the command, to be run in an empty folder. `source` is an http address on the loopback, or a local file.

    ffmpeg writes its progress to stdout, twice a second. `tone_map` is a key of TONE_MAPS, if the plan needs one.
    """
    argv = [program, "-nostdin", "-hide_banner", "-y", "-loglevel", "error", "-nostats", "-progress", "pipe:1"]
    argv += ["-max_error_rate", str(MAX_DAMAGE), *_input_options(source, plan)]
    if plan.rungs:
        argv += ["-filter_complex", _filter_graph(plan, tone_map)]
    argv += ["-map_metadata", "-1", "-map_chapters", "-1", "-dn", "-sn"]
    for number, rung in enumerate(plan.rungs):
        argv += ["-map", f"[v{number}]", *_h264(number, rung, plan)]
    for number, audio in enumerate(plan.audio_tracks):
        argv += _aac(number, audio, plan)
    # MP4 needs the parameter sets in its header; for segments the muxers put them back.
    # The graph makes the rate constant. When it starts again it repeats frames, which must not delay all that follow.
    # Sound waits for its picture however long that stands still, or a segment would hold the sound of many.
    argv += ["-fps_mode", "vfr", "-flags", "+global_header", "-max_interleave_delta", "0", "-f", "tee", _tee(plan)]
    if plan.poster:
        # vfr for the same reason: frames that are repeated when the graph starts again are dropped.
        argv += ["-map", "[poster]", "-map_metadata", "-1", "-fps_mode", "vfr", "-c:v", "mjpeg"]
        argv += ["-q:v", str(JPEG_SCALE), "-frames:v", str(plan.poster.captures)]
        argv += ["-start_number", "0", "-f", "image2", f"{POSTER_NAME}.%07d.jpg"]
    return argv


def largest_file(plan: Plan) -> int:
    """Return the bytes that the MP4 may have: its maximum bit rate throughout, and half as much again.

    It is the largest local file, since segments are uploaded and deleted as they are finished.
    """
    audio = plan.sound.bitrate if plan.sound else 0
    rate = audio + (plan.best.max_bitrate if plan.best else 0)
    return round(rate / 8 * plan.duration_ms / 1000 * 1.5) + 64 * 1024 * 1024


def _input_options(source: str, plan: Plan) -> list[str]:
    """Return the options that confine ffmpeg to this one source, and tell how its tracks lie in time.

    As for ffprobe, it follows no redirect or playlist.
    """
    options = ["-format_whitelist", FORMAT_WHITELIST, "-codec_whitelist", CODEC_WHITELIST]
    options += ["-max_pixels", str(MAX_PIXELS)]
    if plan.largest_gap:
        # By default, a track that pauses for 10 s is taken for a clock that restarts, and what follows comes too early.
        options += ["-dts_delta_threshold", f"{plan.largest_gap:.3f}"]
    if plan.container.startswith("mpeg"):
        # A track may begin long after the others.
        options += ["-analyzeduration", str(PATIENCE_SECONDS * 1_000_000), "-probesize", str(PATIENCE_BYTES)]
    if not (plan.deinterlace or plan.rotation):
        # The scaler takes pictures of any size. Starting the graph again for a new one fills up again, and since
        # ffmpeg 7 loses the frames that the graph holds. Other filters read beyond a picture that became smaller.
        options += ["-reinit_filter:v", "0"]
    if source.startswith("http://127.0.0.1:"):
        remote = ["-rw_timeout", str(SILENCE * 1_000_000), "-seekable", "1", "-max_redirects", "0"]
        return [*options, "-protocol_whitelist", "http,tcp", *remote, "-i", source]
    return [*options, "-protocol_whitelist", "file", "-i", f"file:{source}"]


def _filter_graph(plan: Plan, tone_map: str) -> str:
    """Make the rate constant, then scale down the ladder from the largest rung. ffmpeg turns pictures upright."""
    last = len(plan.rungs) - 1
    # V selects the first stream that is no cover picture. The first frame of a late picture is repeated from time 0.
    # That is requested only then: when the size changes in the middle, ffmpeg starts the graph again, and would fill up
    # from 0.
    late = ":start_time=0" if plan.late_picture else ""
    steps = [_colors(plan.assumed_color)] if plan.assumed_color else []
    steps += ["bwdif=mode=send_frame:deint=interlaced"] if plan.deinterlace else []
    steps.append(f"fps={plan.fps_numerator}/{plan.fps_denominator}{late}")
    if plan.short_picture:
        # The last frame is repeated until the audio ends.
        steps += ["tpad=stop=-1:stop_mode=clone", f"trim=end={_duration(plan)}"]
    steps.append(_scale(plan.rungs[last], fitted=plan.fitted))
    steps += [TONE_MAPS[tone_map]] if plan.tone_map and tone_map else []
    steps += [WIDE_TO_709[tone_map]] if plan.wide and tone_map else []
    steps += [*RGB_TO_709] if plan.rgb else ["format=yuv420p"]
    chains = [f"[0:V:0]{','.join(steps)},{_split(last, poster=plan.poster is not None)}"]
    chains += [
        f"[d{number + 1}]{_scale(plan.rungs[number])},{_split(number, poster=False)}"
        for number in reversed(range(last))
    ]
    if plan.poster:
        # The first frame, and the first one at or after each multiple of the poster's time. A time in floating point
        # may fall short of the multiple that it means: a thousandth of a step is added.
        step = f"floor(%s*1000/{plan.poster.at}+0.001)"
        later = f"+gt({step % 't'},{step % 'prev_selected_t'})" if plan.poster.at else ""
        # Whoever shows a JPEG takes its matrix for that of BT.601.
        jpeg = "scale=out_range=pc:out_color_matrix=bt601,format=yuvj420p"
        chains.append(f"[p]select='eq(n,0){later}',{jpeg}[poster]")
    return ";".join(chains)


def _duration(plan: Plan) -> str:
    """Return the plan's duration in seconds."""
    return f"{plan.duration_ms / 1000:.3f}"


def _split(number: int, *, poster: bool) -> str:
    """Split into a branch for the rung's own encoder, one for the next rung below, and one for the poster."""
    ends = [f"[v{number}]", *([f"[d{number}]"] if number else []), *(["[p]"] if poster else [])]
    return f"split={len(ends)}{''.join(ends)}"


def _scale(rung: Rung, *, fitted: bool = False) -> str:
    """Scale to the rung. With `fitted` sizes may change at any time, and bars are put around what has another shape."""
    size = f"{rung.width}:{rung.height}"
    if not fitted:
        return f"scale={size}:flags=bicubic:out_range=tv,setsar=1"
    inside = "force_original_aspect_ratio=decrease:force_divisible_by=2"
    return (
        f"scale='trunc(iw*sar/2+0.5)*2':ih:eval=frame,setsar=1,scale={size}:flags=bicubic:out_range=tv:{inside}:eval=frame,"
        f"pad={size}:-1:-1:eval=frame,setsar=1"
    )


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
    options |= {} if plan.has_b_frames else {"bf": 0}
    return [word for name, value in options.items() for word in (f"-{name}:v:{number}", str(value))]


def _aac(number: int, audio: AudioPlan, plan: Plan) -> list[str]:
    filters = []
    if gains := audio.gains:
        rows = ["+".join(f"{10 ** (gain / 20):.5f}*c{channel}" for channel, gain in enumerate(row)) for row in gains]
        filters.append("pan=stereo|" + "|".join(f"c{channel}={row}" for channel, row in enumerate(rows)))
    if plan.rungs or plan.local:
        # Gaps become silence, so that audio stays in sync with its picture. The ends are filled up only when they are
        # missing: when the channels change in the middle, ffmpeg starts all filters again, and would fill up again.
        filters.append(f"aresample=async=1:min_hard_comp={SOUND_APART}{':first_pts=0' if audio.late else ''}")
        filters += [f"apad=whole_dur={_duration(plan)}", f"atrim=end={_duration(plan)}"] if audio.short else []
    options = {"c": "aac", "profile": "aac_low", "b": audio.bitrate, "ar": audio.sample_rate, "ac": audio.channels}
    options |= {"filter": ",".join(filters)} if filters else {}
    argv = ["-map", f"0:a:{audio.number - 1}"]
    return argv + [word for name, value in options.items() for word in (f"-{name}:a:{number}", str(value))]


def _tee(plan: Plan) -> str:
    """Write every variant into segments, and the best one into a file too."""
    main = ",a:0" if plan.sound else ""
    slaves = [_hls(variant_name(rung), f"v:{number}{main}") for number, rung in enumerate(plan.rungs)]
    slaves += [_hls(alternate_audio_name(audio), f"a:{number}") for number, audio in enumerate(plan.alternate_audio, 1)]
    if plan.rungs:
        chosen = _quoted(f"v:{len(plan.rungs) - 1}{main}")
        slaves.append(f"[select={chosen}:f=mp4:max_interleave_delta=0:movflags=+faststart]{MP4_NAME}.mp4")
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
        # An unfinished segment has another name: one with its own name may be uploaded.
        "hls_flags": "independent_segments+temp_file",
        "start_number": 1,
        "hls_segment_filename": f"{name}_%05d.ts",
        "max_interleave_delta": 0,
    }
    return f"[{':'.join(f'{key}={value}' for key, value in options.items())}]{name}.m3u8"


def _quoted(streams: str) -> str:
    """Quote a list of streams: ffmpeg unquotes the list of slaves once before it reads a slave's options."""
    return rf"\'{streams}\'"
