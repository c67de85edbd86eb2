"""Plans the renditions of a probed source. Pure: the same source gives the same plan."""

from fractions import Fraction
from typing import Any

from handlers.transcode.planning.plan import AudioPlan, Plan, PlanModel, Poster, Rung
from handlers.transcode.probing.allowed_formats import LOCAL_DEMUXERS, SERVICE_VIDEO
from handlers.transcode.probing.audio_track import select_audio
from handlers.transcode.probing.languages import language_tag
from handlers.transcode.probing.video_track import Probed, VideoTrack
from media.asset import AssetType
from media.errors import Code, RejectedError


class Step(PlanModel):
    """One step of the ladder. `short` is the picture's short side in pixels, `max_bitrate` bits per second."""

    short: int
    qvbr: int
    max_bitrate: int


LADDER = (
    Step(short=270, qvbr=7, max_bitrate=400_000),
    Step(short=360, qvbr=7, max_bitrate=1_500_000),
    Step(short=540, qvbr=7, max_bitrate=3_500_000),
    Step(short=720, qvbr=8, max_bitrate=5_000_000),
    Step(short=1080, qvbr=8, max_bitrate=8_500_000),
)
APART_IN_SIZE = Fraction(11, 10)
"""Ratio of the source's own size to the step below it, from which both are made."""
MIN_SIDE = 32
"""Pixels of the smallest side that MediaConvert encodes."""
MAX_SIDE = 4096
"""Pixels of the longest side that H.264 decoders in browsers and phones take (level 5.2)."""
MIN_FPS = 5
"""Lowest rate. Below it a 2-second group of pictures has too few frames to cut at, so each frame is repeated."""
MIN_VARIABLE_FPS = 20
"""Lowest rate made of a variable one, whose pictures may change at any time: each is shown at most 25 ms away from its
sound, where 40 ms are noticed."""
MAX_FPS = 60
HALF_A_FRAME = Fraction(1, 2)
SECOND = 1000
"""Milliseconds."""
MONO_BITRATE = 64_000
STEREO_BITRATE = 128_000
APART = 0.25
"""Seconds by which tracks may end apart, since recorders stop them one after the other. Beyond it, the shorter track is
filled up."""
LATE = 0.1
"""Seconds after which a track counts as beginning late, and not just as started second."""
LATE_SOUND = 1.0
"""Seconds by which sound may begin after the picture, and MediaConvert makes it. Chosen, not measured."""
POSTER_SHARE = 0.1
"""Poster candidates are taken at every multiple of this share of the duration."""
POSTER_FROM = 1000
"""Milliseconds before the first poster candidate, since films open black."""


def plan(probed: Probed, asset_type: AssetType) -> Plan:
    """Plan the renditions of `probed` for an asset of type video or audio.

    Raises RejectedError: `no_video` or `no_audio` when the track that the type needs is missing, `unsupported` for a
    picture that no encoder takes. Raises ValueError for other asset types.
    """
    if asset_type is AssetType.VIDEO:
        return _plan_video(probed)
    if asset_type is not AssetType.AUDIO:
        raise ValueError(f"nothing to transcode in an asset of type {asset_type}")
    sound, _ = _plan_audio(probed)
    if sound is None:
        raise RejectedError(Code.NO_AUDIO, "the file has no sound track")
    return Plan(
        rungs=(),
        sound=sound,
        duration_ms=_milliseconds(probed),
        poster=None,
        container=probed.container,
        **_irregularities(probed),
        notes=_audio_notes(probed, sound, ()),
    )


def _plan_video(probed: Probed) -> Plan:
    video = probed.video
    if video is None:
        raise RejectedError(Code.NO_VIDEO, "the file has no picture track")
    rungs = _rungs(video.width, video.height)
    sound, alternates = _plan_audio(probed)
    fps = _fps(video)
    late, early = video.begins * fps > HALF_A_FRAME, _ends_early(video.index, probed)
    # ffmpeg starts these filters again when the size changes, and would fill up twice.
    ends_apart = probed.open_end or _ends_early(video.index, probed, by=float(1 / fps))
    short = early or (ends_apart and not video.size_varies)
    return Plan(
        rungs=rungs,
        sound=sound,
        alternate_audio=alternates,
        fps_numerator=fps.numerator,
        fps_denominator=fps.denominator,
        duration_ms=_milliseconds(probed),
        poster=_poster(probed, video, fps, rungs[-1]),
        container=probed.container,
        source_width=video.width,
        source_height=video.height,
        rotation=video.rotation,
        late_picture=late,
        short_picture=short,
        black_picture=early or video.begins > LATE,
        deinterlace=video.interlaced,
        tone_map=video.hdr,
        fitted=video.size_varies,
        rgb=video.rgb,
        wide=video.wide,
        assumed_color=video.assumed_color,
        **_irregularities(probed),
        notes=(*_video_notes(video, fps, short=early), *_audio_notes(probed, sound, alternates)),
    )


def _rungs(width: int, height: int) -> tuple[Rung, ...]:
    """Return the steps below the source, smallest first, and one of its own size, which may be between two steps."""
    short, long = sorted((width, height))
    fitting = []
    for step in LADDER:
        if short < step.short:
            break
        # The long side to the nearest even number of pixels, but never above the source's.
        scaled = min(round(Fraction(long * step.short, short) / 2) * 2, long // 2 * 2)
        if step.short <= scaled <= MAX_SIDE:
            size = (scaled, step.short) if width >= height else (step.short, scaled)
            fitting.append(_rung(step, *size))
    if fitting and (short >= LADDER[-1].short or short - fitting[-1].short < 2):
        return tuple(fitting)
    own = _own_size(width, height)
    return (*(rung for rung in fitting if rung.short * APART_IN_SIZE <= own.short), own)


def _own_size(width: int, height: int) -> Rung:
    """Return a rung of even sides, not above the source's, both between `MIN_SIDE` and `MAX_SIDE`."""
    scale = min(Fraction(1), Fraction(MAX_SIDE, max(width, height)), Fraction(LADDER[-1].short, min(width, height)))
    even = [int(side * scale) // 2 * 2 for side in (width, height)]
    if min(even) < MIN_SIDE:
        raise RejectedError(Code.UNSUPPORTED, f"a picture of {width}x{height} is too small or too narrow to encode")
    step = next((one for one in LADDER if one.short >= min(even)), LADDER[-1])
    return _rung(step, even[0], even[1])


def _rung(step: Step, width: int, height: int) -> Rung:
    name = f"{min(width, height)}p"
    return Rung(name=name, width=width, height=height, qvbr=step.qvbr, max_bitrate=step.max_bitrate)


def _fps(video: VideoTrack) -> Fraction:
    """Return a constant rate between `MIN_FPS`, or `MIN_VARIABLE_FPS`, and `MAX_FPS`. NTSC rates stay NTSC."""
    rate = video.frame_rate
    if rate > MAX_FPS:
        return Fraction(60_000, 1001) if rate.denominator == 1001 else Fraction(MAX_FPS)  # NTSC
    least = MIN_VARIABLE_FPS if video.variable_rate else MIN_FPS
    if rate < least:
        return rate * -(-least // rate)  # each frame is repeated a whole number of times
    return rate


def _poster(probed: Probed, video: VideoTrack, fps: Fraction, rung: Rung) -> Poster:
    """Capture candidates at even steps while the source has a picture, until before the last frame begins.

    Engines can only capture at even steps. A picture shorter than two steps gives the frame in its middle.
    """
    begins = round(video.begins * 1000)
    ends = round(min(probed.duration, probed.ends.get(video.index, probed.duration)) * 1000)
    step = max(POSTER_FROM, int(ends * POSTER_SHARE))
    if step * 2 > ends - begins:
        middle = begins + (ends - begins) // 2
        return Poster(at=middle if middle * fps >= SECOND else 0, width=rung.width, height=rung.height)
    return Poster(
        at=step,
        width=rung.width,
        height=rung.height,
        candidates=max(1, int((ends - SECOND / fps) // step)),
        preferred=begins // step + 1,
    )


def _irregularities(probed: Probed) -> dict[str, Any]:
    """Return what the plan says of a source that is not one recording from beginning to end.

    What MediaConvert does with such a source is known from its documentation alone, or not at all.
    """
    video, gap = probed.video, 0.0
    if probed.largest_gap:
        # Between the largest gap and the smallest jump of the clock.
        top = probed.smallest_jump or 2 * (probed.largest_gap + probed.duration)
        gap = (probed.largest_gap + top) / 2 if top > probed.largest_gap else 0.0
    picture_end = probed.ends.get(video.index, probed.duration) if video else probed.duration
    reasons = (
        probed.container in LOCAL_DEMUXERS,
        not all(track.readable_by_service for track in select_audio(probed.audio)),
        bool(video) and any(track.begins > LATE_SOUND for track in select_audio(probed.audio)),
        bool(video and video.codec not in SERVICE_VIDEO),
        probed.cut_short,
        probed.restarts,
        probed.largest_gap > 0,
        probed.damaged,
        probed.open_end,
        probed.pause > APART,
        bool(video and (video.size_varies or video.rgb or video.wide or video.begins > LATE)),
        probed.duration - picture_end > APART,
    )
    return {
        "cut_short": probed.cut_short,
        "lacking_ms": round(probed.lacking * 1000),
        "largest_gap": gap,
        "local": any(reasons),
    }


def _milliseconds(probed: Probed) -> int:
    return max(1, round(probed.duration * 1000))


def _ends_early(index: int, probed: Probed, by: float = APART) -> bool:
    """Tell whether a track ends well before the last one does."""
    return probed.duration - probed.ends.get(index, probed.duration) > by


def _plan_audio(probed: Probed) -> tuple[AudioPlan | None, tuple[AudioPlan, ...]]:
    """Plan the main audio and the other languages. Mono stays mono, everything else becomes stereo."""
    plans = []
    for track in select_audio(probed.audio):
        channels = min(track.channels, 2)
        # MediaConvert may not count a track as audio that it cannot read: then all tracks are counted.
        is_number_certain = all(one.readable_by_service for one in probed.audio if one.number < track.number)
        plans.append(
            AudioPlan(
                number=track.number,
                stream=None if is_number_certain else track.index + 1,
                source_channels=track.channels,
                source_layout=track.layout,
                heard=track.heard,
                language=language_tag(track.language),
                channels=channels,
                bitrate=MONO_BITRATE if channels == 1 else STEREO_BITRATE,
                late=track.begins > LATE,
                short=_ends_early(track.index, probed),
            )
        )
    return (plans[0], tuple(plans[1:])) if plans else (None, ())


def _video_notes(video: VideoTrack, fps: Fraction, *, short: bool) -> tuple[str, ...]:
    found = {
        f"turned by {video.rotation} degrees": video.rotation != 0,
        "stretched to square pixels": video.anamorphic,
        f"variable rate made constant at {float(fps):.6g} fps": video.variable_rate,
        f"{float(video.frame_rate):.6g} fps made {float(fps):.6g}": not video.variable_rate and video.frame_rate != fps,
        "deinterlaced": video.interlaced,
        "HDR mapped to BT.709": video.hdr,
        "wide colors converted to BT.709": video.wide,
        "the picture ends before the sound and is filled up": short,
        "the picture changes its size": video.size_varies,
    }
    return tuple(note for note, holds in found.items() if holds)


def _audio_notes(probed: Probed, sound: AudioPlan | None, alternates: tuple[AudioPlan, ...]) -> tuple[str, ...]:
    kept = {one.number for one in (sound, *alternates) if one}
    unread = [track for track in probed.audio if track.number not in kept and not track.readable_by_service]
    found = {
        f"{sound.source_channels if sound else 0} channels mixed down to stereo": bool(sound and sound.downmix),
        f"{1 + len(alternates)} of {len(probed.audio)} sound tracks kept": len(probed.audio) > 1 + len(alternates),
        **{f"sound coded as {track.codec_label} left out": True for track in unread},
        "sound ends before the picture, silence follows": any(one.short for one in (sound, *alternates) if one),
        "silent sound left out": any(track.silent for track in probed.audio),
        f"{len(probed.subtitles)} subtitle tracks left out": bool(probed.subtitles),
        "the file was not written to its end": probed.cut_short,
    }
    return tuple(note for note, holds in found.items() if holds)
