"""Names and numbers that both engines and the packaging share."""

HLS_NAME = "hls/master"
MP4_NAME = "video"
M4A_NAME = "audio"
POSTER_NAME = "poster"
"""What the outputs are called below the attempt's prefix; MediaConvert appends modifier, number and suffix."""

FIRST_VARIANT = 2_000_000
"""Bits per second. Apple's authoring rules want the variant nearest to 2 Mbit/s first: players begin with it. Here by
what is allowed; in the master of ours that replaces the service's, by what was measured."""
AUDIO_GROUP = "sound"
"""Of the languages that HLS offers beside the first, which is in the variants themselves."""

DOWNMIX: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "5.1": ((-7.66, -60, -10.67, -60, -10.67, -60), (-60, -7.66, -10.67, -60, -60, -10.67)),
    "5.1(side)": ((-7.66, -60, -10.67, -60, -10.67, -60), (-60, -7.66, -10.67, -60, -60, -10.67)),
}
"""Gains in dB of L R C LFE Ls Rs for left and right: ITU-R BS.775 (centre and surround at -3 dB, no LFE), lowered so
that full scale on all channels does not clip. -60 is mute. Layouts not listed are mixed by the service's own rule."""
