"""Containers and codecs that are accepted, by ffprobe's names: those that MediaConvert reads, and no others."""

DEMUXERS = ("mov", "matroska", "avi", "mpegts", "mpeg", "flv", "asf", "ogg", "mp3", "aac", "flac", "wav")
"""For `-format_whitelist`. Only containers that open no other file: no playlists (HLS, DASH, concat), no picture
sequences, no raw streams, no subtitles inside AVI. MXF and IMF are left out, since only studios use them."""

VIDEO_DECODERS: dict[str, tuple[str, ...]] = {
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

_PCM = ("u8", "s16le", "s16be", "s24le", "s24be", "s32le", "s32be", "f32le", "f32be", "alaw", "mulaw")

AUDIO_DECODERS: dict[str, tuple[str, ...]] = {
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
    "amr_nb": ("amrnb",),
    "amr_wb": ("amrwb",),
    **{f"pcm_{form}": (f"pcm_{form}",) for form in _PCM},
}

_SUBTITLES = ("ssa", "ass", "srt", "subrip", "mov_text", "webvtt", "text", "dvbsub", "dvdsub", "pgssub")
_UNUSED = (*_SUBTITLES, "png", "bmp", "alac")
"""Decoders of tracks that are not used: subtitles, covers, and the second audio track of some recorders. They are
allowed because ffprobe opens a file only if it may open each of its tracks."""

FORMAT_WHITELIST = ",".join(DEMUXERS)
CODEC_WHITELIST = ",".join(
    (*(name for table in (VIDEO_DECODERS, AUDIO_DECODERS) for names in table.values() for name in names), *_UNUSED)
)

ENCRYPTED_TAGS = frozenset({"encv", "enca", "drmi", "drms"})
"""MP4 sample entries of encrypted tracks."""
