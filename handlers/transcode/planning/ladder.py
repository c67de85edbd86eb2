"""Plans the renditions of a source from what the probe found. Pure: same source, same plan."""

from fractions import Fraction

from handlers.transcode.planning.plan import AudioPlan, Plan, Poster, Rung, TrackSpan
from handlers.transcode.probing.audio_track import AudioTrack, select_audio
from handlers.transcode.probing.languages import language_tag
from handlers.transcode.probing.video_track import Probed, VideoTrack
from media.asset import AssetType
from media.errors import Code, RejectedError


class Step(TrackSpan):
    """One step of the ladder, by the picture's short side."""

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
MIN_SIDE = 32
"""Pixels. MediaConvert makes nothing smaller."""
MAX_SIDE = 4096
"""Pixels. The widest that H.264 decoders in browsers and phones take (level 5.2)."""
MIN_FPS = 5
"""Below it a 2-second group of pictures has too few frames to cut at; frames are repeated a whole number of times."""
MAX_FPS = 60
HALF_A_FRAME = Fraction(1, 2)
SECOND = 1000
"""In milliseconds."""
MONO_BITRATE = 64_000
STEREO_BITRATE = 128_000
APART = 0.25
"""Seconds by which tracks may end apart and be left so: recorders stop them one after the other. Beyond it, what ends
first is filled up."""
LATE = 0.1
"""Seconds after which a track counts as one that begins late, and not just as one that was started second."""
POSTER_SHARE = 0.1
POSTER_FROM = 1000
"""Milliseconds. Films open black: the poster is looked for at every tenth of the way, not before the first second."""


def plan(probed: Probed, asset_type: AssetType) -> Plan:
    """What to make of `probed` for an asset of type video or audio.

    Raises RejectedError: `no_video` or `no_audio` when the track that the type needs is missing, `unsupported` for a
    picture that no encoder takes. Raises ValueError for other asset types.
    """
    if asset_type is AssetType.AUDIO:
        return _plan_audio(probed)
    if asset_type is not AssetType.VIDEO:
        raise ValueError(f"nothing to transcode in an asset of type {asset_type}")
    return _plan_video(probed)


def _plan_audio(probed: Probed) -> Plan:
    sound, _ = _sounds(probed)
    if sound is None:
        raise RejectedError(Code.NO_AUDIO, "the file has no sound track")
    return Plan(
        rungs=(),
        sound=sound,
        duration_ms=_milliseconds(probed),
        poster=None,
        container=probed.container,
        notes=_sound_notes(probed, sound, ()),
    )


def _plan_video(probed: Probed) -> Plan:
    video = probed.video
    if video is None:
        raise RejectedError(Code.NO_VIDEO, "the file has no picture track")
    rungs = _rungs(video.width, video.height)
    sound, others = _sounds(probed)
    fps = _fps(video)
    late, short = video.begins * fps > HALF_A_FRAME, _short(video.index, probed)
    return Plan(
        rungs=rungs,
        sound=sound,
        others=others,
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
        black_picture=short or video.begins > LATE,
        deinterlace=video.interlaced,
        tone_map=video.hdr,
        notes=(*_video_notes(video, fps, short=short), *_sound_notes(probed, sound, others)),
    )


def _rungs(width: int, height: int) -> tuple[Rung, ...]:
    """The steps that fit into the source, smallest first; else one rung of the source's own size, made even."""
    fitting = [rung for step in LADDER if (rung := _fit(step, width, height))]
    return tuple(fitting) or (_own_size(width, height),)


def _fit(step: Step, width: int, height: int) -> Rung | None:
    short, long = sorted((width, height))
    scaled = min(_even(Fraction(long * step.short, short)), long // 2 * 2) if short >= step.short else 0
    if not step.short <= scaled <= MAX_SIDE:
        return None
    size = (scaled, step.short) if width >= height else (step.short, scaled)
    return _rung(step, *size)


def _own_size(width: int, height: int) -> Rung:
    """Even sides, never above the source's, both between `MIN_SIDE` and `MAX_SIDE`."""
    scale = min(Fraction(1), Fraction(MAX_SIDE, max(width, height)), Fraction(LADDER[-1].short, min(width, height)))
    even = [int(side * scale) // 2 * 2 for side in (width, height)]
    if min(even) < MIN_SIDE:
        raise RejectedError(Code.UNSUPPORTED, f"a picture of {width}x{height} is too small or too narrow to encode")
    step = next((one for one in reversed(LADDER) if one.short <= min(even)), LADDER[0])
    return _rung(step, even[0], even[1])


def _rung(step: Step, width: int, height: int) -> Rung:
    name = f"{min(width, height)}p"
    return Rung(name=name, width=width, height=height, qvbr=step.qvbr, max_bitrate=step.max_bitrate)


def _even(side: Fraction) -> int:
    return round(side / 2) * 2


def _fps(video: VideoTrack) -> Fraction:
    """Constant, between `MIN_FPS` and `MAX_FPS`; NTSC rates stay NTSC."""
    rate = video.frame_rate
    if rate > MAX_FPS:
        return Fraction(60_000, 1001) if rate.denominator == 1001 else Fraction(MAX_FPS)  # NTSC
    if rate < MIN_FPS:
        return rate * -(-MIN_FPS // rate)
    return rate


def _poster(probed: Probed, video: VideoTrack, fps: Fraction, rung: Rung) -> Poster:
    """At even steps, all that engines can do, while the source itself has a picture, before the last frame begins.

    What is shorter than two steps gives the frame in its middle.
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


def _milliseconds(probed: Probed) -> int:
    return max(1, round(probed.duration * 1000))


def _short(index: int, probed: Probed) -> bool:
    """Whether a track ends well before the last one does."""
    return probed.duration - probed.ends.get(index, probed.duration) > APART


def _sounds(probed: Probed) -> tuple[AudioPlan | None, tuple[AudioPlan, ...]]:
    """What is made of the chosen track, and of the other languages."""
    heard = [_heard(track, probed) for track in select_audio(probed.audio)]
    return (heard[0], tuple(heard[1:])) if heard else (None, ())


def _heard(track: AudioTrack, probed: Probed) -> AudioPlan:
    """Mono stays mono, all else becomes stereo."""
    channels = min(track.channels, 2)
    return AudioPlan(
        number=track.number,
        stream=track.index + 1 if _uncounted_before(track, probed.audio) else None,
        source_channels=track.channels,
        source_layout=track.layout,
        language=language_tag(track.language),
        channels=channels,
        bitrate=MONO_BITRATE if channels == 1 else STEREO_BITRATE,
        late=track.begins > LATE,
        short=_short(track.index, probed),
    )


def _uncounted_before(track: AudioTrack, tracks: tuple[AudioTrack, ...]) -> bool:
    return any(not one.readable and one.number < track.number for one in tracks)


def _video_notes(video: VideoTrack, fps: Fraction, *, short: bool) -> tuple[str, ...]:
    found = {
        f"turned by {video.rotation} degrees": video.rotation != 0,
        "stretched to square pixels": video.anamorphic,
        f"variable rate made constant at {float(fps):.6g} fps": video.variable_rate,
        f"{float(video.frame_rate):.6g} fps made {float(fps):.6g}": not video.variable_rate and video.frame_rate != fps,
        "deinterlaced": video.interlaced,
        "HDR mapped to BT.709": video.hdr,
        "the picture ends before the sound and is filled up": short,
    }
    return tuple(note for note, holds in found.items() if holds)


def _sound_notes(probed: Probed, sound: AudioPlan | None, others: tuple[AudioPlan, ...]) -> tuple[str, ...]:
    found = {
        f"{sound.source_channels if sound else 0} channels mixed down to stereo": bool(sound and sound.downmix),
        f"{1 + len(others)} of {len(probed.audio)} sound tracks kept": len(probed.audio) > 1 + len(others),
        **{f"sound coded as {track.codec_label} left out": True for track in probed.audio if not track.readable},
        "sound ends before the picture, silence follows": any(one.short for one in (sound, *others) if one),
        f"{len(probed.subtitles)} subtitle tracks left out": bool(probed.subtitles),
    }
    return tuple(note for note, holds in found.items() if holds)
