"""Plans the renditions of a source from what the probe found. Pure: same source, same plan."""

from fractions import Fraction

from handlers.transcode.languages import tag_of
from handlers.transcode.plan import Part, Plan, Poster, Rung, Sound
from handlers.transcode.tracks import AudioTrack, Probed, VideoTrack, chosen_sound
from media.asset import AssetType
from media.errors import Code, RejectedError


class Step(Part):
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
MONO_BITRATE = 64_000
STEREO_BITRATE = 128_000
MAX_OTHERS = 7
"""Languages beside the first. Each costs an encoder; more than eight in all are no lecture but an attack."""
POSTER_SHARE = 0.1
POSTER_FROM = 1000
"""Milliseconds. Films open black: the poster is taken at a tenth of the way, not before the first second."""


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
    sound = _sound(probed.audio)
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
    sound = _sound(probed.audio)
    others = _others(probed.audio, sound)
    fps = _fps(video)
    return Plan(
        rungs=rungs,
        sound=sound,
        others=others,
        fps_numerator=fps.numerator,
        fps_denominator=fps.denominator,
        duration_ms=_milliseconds(probed),
        poster=Poster(at=_poster_time(_milliseconds(probed), fps), width=rungs[-1].width, height=rungs[-1].height),
        container=probed.container,
        source_width=video.width,
        source_height=video.height,
        rotation=video.rotation,
        late_picture=video.begins * fps > HALF_A_FRAME,
        deinterlace=video.interlaced,
        tone_map=video.hdr,
        notes=(*_video_notes(video, fps), *_sound_notes(probed, sound, others)),
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
        return Fraction(60_000, 1001) if rate.denominator == 1001 else Fraction(MAX_FPS)  # noqa: PLR2004 - NTSC
    if rate < MIN_FPS:
        return rate * -(-MIN_FPS // rate)
    return rate


def _poster_time(duration_ms: int, fps: Fraction) -> int:
    """Milliseconds, always before the last frame begins; 0 only when there is but one frame."""
    wanted = max(POSTER_FROM, int(duration_ms * POSTER_SHARE))
    if wanted * 2 > duration_ms:
        wanted = duration_ms // 2
    return wanted if wanted * fps >= 1000 else 0  # noqa: PLR2004 - milliseconds in a second


def _milliseconds(probed: Probed) -> int:
    return max(1, round(probed.duration * 1000))


def _sound(tracks: tuple[AudioTrack, ...]) -> Sound | None:
    """What is made of the chosen track; mono stays mono, all else becomes stereo."""
    track = chosen_sound(tracks)
    return _heard(track) if track else None


def _others(tracks: tuple[AudioTrack, ...], sound: Sound | None) -> tuple[Sound, ...]:
    """The first track of every other language. A track without one is another mix of the same, and left out."""
    found: dict[str, Sound] = {}
    for track in tracks:
        tag = tag_of(track.language) if track.readable and track.channels > 0 else None
        if sound and sound.language and tag and tag != sound.language:
            found.setdefault(tag, _heard(track))
    return tuple(found.values())[:MAX_OTHERS]


def _heard(track: AudioTrack) -> Sound:
    channels = min(track.channels, 2)
    return Sound(
        number=track.number,
        source_channels=track.channels,
        source_layout=track.layout,
        language=tag_of(track.language),
        channels=channels,
        bitrate=MONO_BITRATE if channels == 1 else STEREO_BITRATE,
    )


def _video_notes(video: VideoTrack, fps: Fraction) -> tuple[str, ...]:
    found = {
        f"turned by {video.rotation} degrees": video.rotation != 0,
        "stretched to square pixels": video.anamorphic,
        f"variable rate made constant at {float(fps):.6g} fps": video.variable_rate,
        f"{float(video.frame_rate):.6g} fps made {float(fps):.6g}": not video.variable_rate and video.frame_rate != fps,
        "deinterlaced": video.interlaced,
        "HDR mapped to BT.709": video.hdr,
    }
    return tuple(note for note, holds in found.items() if holds)


def _sound_notes(probed: Probed, sound: Sound | None, others: tuple[Sound, ...]) -> tuple[str, ...]:
    found = {
        f"{sound.source_channels if sound else 0} channels mixed down to stereo": bool(sound and sound.downmix),
        f"{1 + len(others)} of {len(probed.audio)} sound tracks kept": len(probed.audio) > 1 + len(others),
        **{f"sound coded as {track.coding} left out": True for track in probed.audio if not track.readable},
        f"{len(probed.subtitles)} subtitle tracks left out": bool(probed.subtitles),
    }
    return tuple(note for note, holds in found.items() if holds)
