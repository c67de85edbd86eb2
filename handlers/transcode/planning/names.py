"""Names and numbers shared by both engines and the packaging."""

HLS_NAME = "hls/master"
MP4_NAME = "video"
M4A_NAME = "audio"
POSTER_NAME = "poster"
"""Names of the outputs below the attempt's prefix. MediaConvert appends modifier, number and suffix."""

FIRST_VARIANT = 2_000_000
"""Bits per second. Apple's authoring rules want the variant nearest to 2 Mbit/s first, since players begin with it. The
jobs sort by the maximum bit rate; our master playlist, which replaces MediaConvert's, sorts by the measured one."""
AUDIO_GROUP = "sound"
"""HLS group of the alternate audio. The main audio is in the variants themselves."""
