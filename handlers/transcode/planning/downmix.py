"""The mix of many channels to two: ITU-R BS.775, lowered so that full scale on all channels does not clip. Pure."""

from collections.abc import Sequence
from math import log10

from handlers.transcode.probing.audio_track import channels_of

MUTE = -60.0
"""dB that MediaConvert takes for mute."""

_HALF, _QUARTER = 2**-0.5, 0.5
"""-3 and -6 dB."""
_SHARES = {
    "FL": (1.0, 0.0),
    "FR": (0.0, 1.0),
    "FC": (_HALF, _HALF),
    "LFE": (0.0, 0.0),
    "BC": (_QUARTER, _QUARTER),
    **dict.fromkeys(("BL", "SL", "FLC", "TFL", "TBL", "WL"), (_HALF, 0.0)),
    **dict.fromkeys(("BR", "SR", "FRC", "TFR", "TBR", "WR"), (0.0, _HALF)),
}
"""The share of a channel in left and right."""


def gains(layout: str, channels: int, heard: Sequence[int] = ()) -> tuple[tuple[float, ...], ...]:
    """Return the gains in dB of each source channel for left and right; nothing where two or one are there.

    Channels of an unknown layout may be those of a mixing desk: each goes to both sides, and as loud as it can be
    beside the others that are `heard` (channels from 0; none given: all).
    """
    if channels <= 2:
        return ()
    names = channels_of(layout)
    if len(names) == channels and all(name in _SHARES for name in names):
        shares = [_SHARES[name] for name in names]
        total = max(sum(side) for side in zip(*shares, strict=True))
    else:
        shares, total = [(1.0, 1.0)] * channels, float(len(heard) or channels)
    quietest = 10 ** (MUTE / 20)
    return tuple(tuple(round(20 * log10(max(quietest, share[side] / total)), 2) for share in shares) for side in (0, 1))
