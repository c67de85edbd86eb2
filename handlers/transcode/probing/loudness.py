"""Hears whether there is anything in a sound track: decodes a few seconds of it, spread over the file."""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from math import inf

from handlers.transcode.probing import ffprobe_errors
from handlers.transcode.probing.audio_track import AudioTrack, channels_of, choose_main_audio
from handlers.transcode.probing.ffprobe import Ffprobe

AUDIBLE = -50.0
"""dB below full scale of the loudest 50 ms, above which something is heard. Speech reaches -35, an open input -60."""
PLACES = (0.0, 0.5, 0.25, 0.75, 0.1, 0.9)
"""Where in the file is listened, as shares of its duration."""
SECONDS = 4
"""Seconds of each place that are decoded."""
HEAD_SECONDS = 30
"""Seconds from the beginning that are decoded of a file of unknown duration."""
_PEAK = re.compile(r"RMS peak dB: (\S+)")


async def listen(ffmpeg: Ffprobe, url: str, tracks: Sequence[AudioTrack], duration: float) -> tuple[AudioTrack, ...]:
    """Mark the tracks that are silent, and the channels that are heard in a main track of unknown layout.

    Nothing is decoded where there is nothing to decide. The main track is heard first, and usually alone. `ffmpeg`
    runs that program, `duration` is the seconds that the header claims, or 0. Raises as `Ffprobe.run` does, and
    RetryableError when the storage failed.
    """
    main = choose_main_audio(tracks)
    if main is None or not main.readable:
        return tuple(tracks)
    found = {track.index: track for track in tracks}
    is_unknown = main.channels > 2 and not channels_of(main.layout)
    rivals = [track for track in tracks if track is not main and track.readable and track.channels > 0]
    if not (is_unknown or rivals):
        return tuple(tracks)
    levels = await _measure(ffmpeg, url, main, duration, all_places=is_unknown)
    if is_unknown:
        heard_in = tuple(n for n, level in enumerate(levels[: main.channels]) if level > AUDIBLE)
        found[main.index] = replace(main, heard=heard_in)
    if not rivals or max(levels, default=-inf) > AUDIBLE:
        return tuple(found.values())
    heard = [one for one in rivals if max(await _measure(ffmpeg, url, one, duration), default=-inf) > AUDIBLE]
    if heard:
        # Silence is no reason to prefer another silence.
        quiet = [track.index for track in tracks if track is main or (track in rivals and track not in heard)]
        found |= {index: replace(found[index], silent=True) for index in quiet}
    return tuple(found.values())


async def _measure(
    ffmpeg: Ffprobe, url: str, track: AudioTrack, duration: float, *, all_places: bool = False
) -> list[float]:
    """Return the level in dB of each channel; -inf for silence, no list for a track without content.

    It stops at the first place where something is heard, unless `all_places` is set.
    """
    stats = "astats=measure_perchannel=RMS_peak:measure_overall=none"
    output = ("-map", f"0:{track.index}", "-af", stats, "-f", "null", "-")
    loudest: list[float] = []
    for place in PLACES if duration else (0.0,):
        span = ("-ss", f"{place * duration:.3f}", "-t", str(SECONDS if duration else HEAD_SECONDS))
        child = await ffmpeg.run(url, ("-nostdin", "-nostats", "-v", "info", *span), output=output)
        stderr = child.stderr.decode(errors="replace")
        # A file that it cannot read is silent; a storage that does not answer is not. Titles are in the output, too.
        if child.returncode and (error := ffprobe_errors.find_storage_error(stderr)):
            raise error
        # Where nothing was decoded, the level is no number.
        peaks = [max(-inf, float(text)) for text in _PEAK.findall(stderr)]
        # There are none where the header claims more than the file holds.
        loudest = [max(pair) for pair in zip_longest(loudest, peaks, fillvalue=-inf)]
        if not all_places and max(loudest, default=-inf) > AUDIBLE:
            break
        if duration <= SECONDS:
            break
    return loudest
