"""Containers and codecs that are accepted, by ffprobe's names.

The names in SERVICE tables are those that MediaConvert reads. Those in LOCAL tables are what voice recorders, phones
and old programs write besides: of such a source our own ffmpeg makes the renditions, whichever engine is set.
"""

SERVICE_DEMUXERS = ("mov", "matroska", "avi", "mpegts", "mpeg", "flv", "asf", "ogg", "mp3", "aac", "flac", "wav")
LOCAL_DEMUXERS = ("amr", "aiff", "caf")
"""For `-format_whitelist`. Only containers that open no other file: no playlists (HLS, DASH, concat), no picture
sequences, no raw streams, no subtitles inside AVI. MXF and IMF are left out, since only studios use them."""

SERVICE_VIDEO: dict[str, tuple[str, ...]] = {
    "h264": ("h264",),
    "hevc": ("hevc",),
    "av1": ("libdav1d", "libaom-av1", "av1"),
    "vp8": ("vp8", "libvpx"),
    "vp9": ("vp9", "libvpx-vp9"),
    "mpeg1video": ("mpeg1video",),
    "mpeg2video": ("mpeg2video",),
    "mpeg4": ("mpeg4",),
    "h263": ("h263",),
    "flv1": ("flv",),
    "vc1": ("vc1",),
    "wmv3": ("wmv3",),
    "mjpeg": ("mjpeg",),
    "prores": ("prores",),
    "dnxhd": ("dnxhd",),
    "dvvideo": ("dvvideo",),
    "jpeg2000": ("jpeg2000",),
    "qtrle": ("qtrle",),
    "rawvideo": ("rawvideo",),
}
"""The decoders that ffmpeg may have for each codec."""
LOCAL_VIDEO: dict[str, tuple[str, ...]] = {
    **{f"wmv{version}": (f"wmv{version}",) for version in (1, 2)},
    **{f"msmpeg4v{version}": (f"msmpeg4v{version}",) for version in (1, 2)},
    "msmpeg4v3": ("msmpeg4",),
    **{name: (name,) for name in ("vp6", "vp6f", "vp6a", "flashsv", "flashsv2")},
}

_PCM = ("u8", "s16le", "s16be", "s24le", "s24be", "s32le", "s32be", "f32le", "f32be", "alaw", "mulaw")

SERVICE_AUDIO: dict[str, tuple[str, ...]] = {
    "aac": ("aac",),
    "mp3": ("mp3float", "mp3"),
    "mp2": ("mp2float", "mp2"),
    "ac3": ("ac3",),
    "eac3": ("eac3",),
    "opus": ("libopus", "opus"),
    "vorbis": ("vorbis",),
    "flac": ("flac",),
    "wmav1": ("wmav1",),
    "wmav2": ("wmav2",),
    "wmapro": ("wmapro",),
    **{f"pcm_{form}": (f"pcm_{form}",) for form in _PCM},
}
LOCAL_AUDIO: dict[str, tuple[str, ...]] = {
    "amr_nb": ("amrnb",),
    "amr_wb": ("amrwb",),
    "adpcm_g722": ("g722",),
    "adpcm_g726": ("g726",),
    **{name: (name,) for name in ("alac", "aac_latm", "gsm", "gsm_ms", "g723_1", "g729", "truespeech", "wmavoice")},
    **{f"adpcm_{form}": (f"adpcm_{form}",) for form in ("ima_wav", "ima_qt", "ms", "swf", "yamaha")},
    **{name: (name,) for name in ("speex", "nellymoser", "pcm_bluray", "pcm_dvd", "pcm_s8", "pcm_f64le", "pcm_f64be")},
}
VIDEO_DECODERS = SERVICE_VIDEO | LOCAL_VIDEO
AUDIO_DECODERS = SERVICE_AUDIO | LOCAL_AUDIO

_SUBTITLES = ("ssa", "ass", "srt", "subrip", "mov_text", "webvtt", "text", "dvbsub", "dvdsub", "pgssub")
_UNUSED = (*_SUBTITLES, "png", "bmp")
"""Decoders of tracks that are not used: subtitles and covers. They are allowed because ffprobe opens a file only if it
may open each of its tracks."""

FORMAT_WHITELIST = ",".join((*SERVICE_DEMUXERS, *LOCAL_DEMUXERS))
CODEC_WHITELIST = ",".join(
    (*(name for table in (VIDEO_DECODERS, AUDIO_DECODERS) for names in table.values() for name in names), *_UNUSED)
)

ENCRYPTED_TAGS = frozenset({"encv", "enca", "drmi", "drms"})
"""MP4 sample entries of encrypted tracks."""
ENCRYPTED_STREAM_TYPES = frozenset({"0x00db", "0x00cf", "0x00c1", "0x00c2"})
"""Stream types of SAMPLE-AES in a transport stream (H.264, AAC, AC-3, E-AC-3), which ffmpeg takes for plain ones."""
