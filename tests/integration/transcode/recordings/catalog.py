"""Sixty recordings: the habits of the programs and phones that webinars, calls and talks are recorded with."""

from fractions import Fraction
from pathlib import Path

from tests.integration.transcode.recordings.recording import (
    FLASH,
    Recording,
    without_default_duration,
)
from tests.integration.transcode.source_clips import FILM, H264, NTSC, run_ffmpeg

HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:keyint=60")
HEVC_10 = (*HEVC, "-pix_fmt", "yuv420p10le")
VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "300k", "-g", "100")
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "300k", "-g", "100", "-row-mt", "1")
OPUS = ("-c:a", "libopus", "-b:a", "48k")
VORBIS = ("-c:a", "libvorbis", "-b:a", "64k")
PCM = ("-c:a", "pcm_s16le")
CALL = (*H264, "-tune", "zerolatency", "-g", "300")
PHONE = (*H264, "-bf", "0", "-g", "30")
AAC_LOW = ("-c:a", "aac", "-b:a", "32k")
LIVE = ("-f", "matroska", "-live", "1")
WEBM = ("-f", "webm", "-live", "1")
FRAGMENTS = ("-movflags", "frag_keyframe+delay_moov+default_base_moof", "-frag_duration", "1000000")
APPLE = ("-video_track_timescale", "600", "-brand", "qt  ")
SLIDES = "not(mod(n,30))"
"""One frame in a second."""
HALF_STILL = "lt(mod(t,5),2)"
"""Two seconds of motion, then three that stand still."""
DROPS = "gt(random(3),0.2)"
"""One frame in five is lost."""
LOUD_AMR = bytes.fromhex("5e2dfbac175d577df291754a9c9078b5e9ae3b84a16119491e25f476104577")
"""A frame of AMR's best mode that is as loud as can be from its first sample."""
F15, F25, F50, F60, F10, F5 = (Fraction(rate) for rate in (15, 25, 50, 60, 10, 5))


def amr(recording: Recording, path: Path) -> None:
    """Write H.263 with AMR, for which ffmpeg has no encoder: the same loud frame for a beep, zeros between."""
    frames = []
    for number in range(round((recording.sound_end or recording.seconds) * 50)):
        is_loud = any(time <= number / 50 + 0.001 < time + FLASH for time in recording.events)
        frames.append(b"\x3c" + (LOUD_AMR if is_loud else bytes(31)))
    sound = path.with_suffix(".amr")
    sound.write_bytes(b"#!AMR\n" + b"".join(frames))
    picture = ["-f", "lavfi", "-i", recording.picture_graph(), "-i", str(sound)]
    run_ffmpeg(*picture, *recording.picture_codec, "-c:a", "copy", *recording.options, path)


def two_microphones(recording: Recording, path: Path) -> None:
    """Write a silent first track, and the voice on the second."""
    silence = ["-f", "lavfi", "-i", f"anullsrc=r=48000:cl=stereo:d={recording.seconds}"]
    maps = ["-map", "0:v", "-map", "2:a", "-map", "1:a"]
    run_ffmpeg(*recording.inputs(), *silence, *maps, *recording.coding(), *recording.options, path)


def with_data(recording: Recording, path: Path) -> None:
    """Write a track of data beside picture and sound, as phones do."""
    data = path.with_suffix(".srt")
    lines = [f"{n + 1}\n00:00:{n:02d},000 --> 00:00:{n:02d},900\nplace {n}\n" for n in range(int(recording.seconds))]
    data.write_text("\n".join(lines))
    maps = ["-map", "0:v", "-map", "1:a", "-map", "2:s", "-c:s", "mov_text"]
    run_ffmpeg(*recording.inputs(), "-i", data, *maps, *recording.coding(), *recording.options, path)


def zoom() -> list[Recording]:
    def row(name: str, **more: object) -> Recording:
        return Recording("zoom", name, "mp4", **({"sound_rate": 32000, "rate": F25} | more))  # type: ignore[arg-type]

    return [
        row("speaker"),
        row("shared-screen", keep="not(mod(n,5))", picture_codec=CALL),
        row("gallery-drops", keep=DROPS, seconds=12),
        row("slides-still", keep="lt(t,0.5)+not(mod(n,150))", seconds=20, picture_codec=CALL),
        row("picture-stops", picture_end=7, seconds=12),
        row("joined-muted", sound_late=2.5, seconds=9),
    ]


def teams() -> list[Recording]:
    def row(name: str, **more: object) -> Recording:
        base: dict[str, object] = {"picture_codec": CALL, "sound_rate": 16000, "sound_codec": AAC_LOW}
        return Recording("teams", name, "mp4", **(base | more))  # type: ignore[arg-type]

    return [
        row("meeting", rate=F15),
        row("screen-at-8-fps", rate=Fraction(15, 2), seconds=12),
        row("fragments", rate=F15, options=FRAGMENTS),
        row("variable", keep=DROPS, jitter=0.4),
        row("town-hall", rate=NTSC, sound_rate=48000, layout="stereo"),
        row("still-screen", keep="lt(t,1)", rate=F15, seconds=14),
    ]


def obs() -> list[Recording]:
    def row(name: str, suffix: str = "mkv", **more: object) -> Recording:
        return Recording("obs", name, suffix, **({"rate": F60, "layout": "stereo", "seconds": 8} | more))  # type: ignore[arg-type]

    return [
        row("matroska"),
        row("flash", "flv", rate=Fraction(30)),
        row("transport-stream", "ts"),
        row("hybrid", "mp4", options=FRAGMENTS),
        row("two-microphones", maker=two_microphones, rate=Fraction(30)),
        row("hevc", "mov", picture_codec=HEVC, rate=Fraction(30)),
    ]


def big_blue_button() -> list[Recording]:
    def row(name: str, **more: object) -> Recording:
        base: dict[str, object] = {"picture_codec": VP8, "sound_codec": VORBIS, "rate": F15}
        return Recording("bigbluebutton", name, "webm", **(base | more))  # type: ignore[arg-type]

    return [
        row("webcams"),
        row("deskshare", rate=F5, seconds=12),
        row("deskshare-still", keep="lt(t,0.2)+gt(t,10)", seconds=16),
        row("picture-ends", picture_end=5, seconds=10),
        row("camera-late", picture_late=3.0, seconds=10),
        row("opus", sound_codec=OPUS, picture_codec=VP9, rate=F25),
    ]


def jitsi() -> list[Recording]:
    def row(name: str, suffix: str = "mp4", **more: object) -> Recording:
        base: dict[str, object] = {"picture_codec": CALL, "sound_rate": 44100, "layout": "stereo"}
        return Recording("jitsi", name, suffix, **(base | more))  # type: ignore[arg-type]

    return [
        row("jibri"),
        row("jibri-stream", "flv"),
        row("jibri-drops", keep=DROPS),
        row("local", "webm", picture_codec=VP9, sound_codec=OPUS, sound_rate=48000, keep=DROPS, jitter=0.8,
            options=WEBM, after=(without_default_duration,)),
        row("sound-stops", sound_end=6, seconds=9),
    ]  # fmt: skip


def chromium_webm() -> list[Recording]:
    def row(name: str, **more: object) -> Recording:
        base: dict[str, object] = {
            "picture_codec": VP8, "sound_codec": OPUS, "options": WEBM, "after": (without_default_duration,),
            "jitter": 0.8,
        }  # fmt: skip
        return Recording("mediarecorder", name, "webm", **(base | more))  # type: ignore[arg-type]

    return [
        row("vp8"),
        row("vp9", picture_codec=VP9, keep=DROPS),
        row("h264", picture_codec=CALL, options=LIVE),
        row("screen-slides", keep=SLIDES, seconds=16),
        row("screen-still", keep="lt(t,0.1)", seconds=14, jitter=0.0),
        row("slides-then-motion", keep="if(lt(t,9),not(mod(n,30)),1)", seconds=16),
        row("sound-late", sound_late=0.4),
    ]


def chromium_mp4() -> list[Recording]:
    def row(name: str, **more: object) -> Recording:
        base: dict[str, object] = {"picture_codec": CALL, "options": FRAGMENTS, "jitter": 0.8}
        return Recording("mediarecorder-mp4", name, "mp4", **(base | more))  # type: ignore[arg-type]

    return [
        row("h264"),
        row("vp9-opus", picture_codec=VP9, sound_codec=OPUS),
        row("slides", keep=SLIDES, seconds=15),
        row("half-still", keep=HALF_STILL, seconds=13),
    ]


def quick_time() -> list[Recording]:
    def row(name: str, **more: object) -> Recording:
        base: dict[str, object] = {"rate": F60, "options": APPLE, "sound_rate": 44100}
        return Recording("quicktime", name, "mov", **(base | more))  # type: ignore[arg-type]

    return [
        row("screen", seconds=8),
        row("screen-still", keep="lt(t,0.5)", seconds=12),
        row("screen-half-still", keep=HALF_STILL, seconds=12),
        row("hevc", picture_codec=(*HEVC, "-tag:v", "hvc1"), rate=F25),
        row("linear-pcm", sound_codec=("-c:a", "pcm_s24le"), layout="stereo", rate=Fraction(30)),
        row("five-microphones", layout="5.1", rate=Fraction(30), sound_codec=PCM),
    ]


def iphone() -> list[Recording]:
    def row(name: str, **more: object) -> Recording:
        base: dict[str, object] = {"picture_codec": PHONE, "rate": NTSC, "options": APPLE, "sound_rate": 44100}
        return Recording("iphone", name, "mov", **(base | {"jitter": 0.1} | more))  # type: ignore[arg-type]

    return [
        row("portrait", quarter_turns=1),
        row("upside-down", quarter_turns=2),
        row("hevc-portrait", picture_codec=(*HEVC, "-tag:v", "hvc1"), quarter_turns=3),
        row("slow-light", keep="if(gt(t,4),not(mod(n,2)),1)", quarter_turns=1),
        row("pcm-60-fps", rate=Fraction(60000, 1001), sound_codec=PCM, layout="stereo", seconds=8),
        row("spatial", layout="quad", sound_codec=PCM, seconds=8),
        row("with-data", maker=with_data),
        row("film", rate=FILM, picture_codec=(*HEVC_10, "-tag:v", "hvc1"), jitter=0.0),
    ]


def android() -> list[Recording]:
    def row(name: str, suffix: str = "mp4", **more: object) -> Recording:
        base: dict[str, object] = {"picture_codec": PHONE, "jitter": 0.3, "layout": "stereo"}
        return Recording("android", name, suffix, **(base | more))  # type: ignore[arg-type]

    h263 = ("-c:v", "h263", "-b:v", "300k", "-g", "12")
    return [
        row("portrait", quarter_turns=1),
        row("drops", keep=DROPS, jitter=0.5),
        row("sound-late", sound_late=0.3),
        row("hevc", picture_codec=HEVC, quarter_turns=1),
        row("3gp-amr", "3gp", size="176x144", rate=F25, jitter=0, picture_codec=h263, maker=amr),
        row("3gp-aac", "3gp", size="176x144", rate=F15, jitter=0, picture_codec=h263, layout="mono", sound_rate=16000),
    ]  # fmt: skip


RECORDINGS = [
    *zoom(), *teams(), *obs(), *big_blue_button(), *jitsi(), *chromium_webm(), *chromium_mp4(), *quick_time(),
    *iphone(), *android(),
]  # fmt: skip
