"""Probes a source before it is planned: which tracks it has, and whether it can be read to its end."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from handlers.transcode.probing import ffprobe_errors
from handlers.transcode.probing.allowed_formats import ENCRYPTED_TAGS, VIDEO_DECODERS
from handlers.transcode.probing.audio_track import AudioTrack, choose_main_audio, read_audio, select_audio
from handlers.transcode.probing.duration import (
    HEAD_PACKETS,
    TAIL_PACKETS,
    TAIL_SECONDS,
    PacketSample,
    TrackTimes,
    announced_end,
    check_filled,
    is_mov,
    is_sparse,
    measure_scanned_track,
    measure_track,
    read_sample,
    read_scan,
    seconds,
    start_time,
)
from handlers.transcode.probing.ffprobe import Ffprobe
from handlers.transcode.probing.loudness import listen
from handlers.transcode.probing.video_track import (
    Probed,
    SubtitleTrack,
    VideoTrack,
    first_picture,
    read_subtitles,
    read_video,
)
from media.asset import AssetType
from media.errors import Code, RejectedError

__all__ = ["AudioTrack", "Probed", "Prober", "SubtitleTrack", "VideoTrack"]

DECODED_PACKETS = 12
"""Packets from the beginning that are decoded to see whether frames come out."""
DECODER_THREADS = 2
"""Threads of a decoder. Each holds pictures of its own, and many cores must not need more memory than a few."""
SCAN_FACTOR = 10
"""Factor by which reading a whole file may take longer than opening it."""
MAX_DURATION = 8 * 3600.0
"""Seconds that a source may last."""


@dataclass(frozen=True, slots=True)
class Prober:
    """Probes sources with ffprobe.

    `timeout` is seconds for opening and sampling a source. A source whose header names no duration must be read whole,
    which may take ten times as long. `max_duration` is seconds. The private folders lie below `scratch`.
    """

    program: str = "ffprobe"
    timeout: float = 30
    max_duration: float = MAX_DURATION
    scratch: Path | None = None
    ffmpeg: str = "ffmpeg"

    async def probe(self, url: str, *, asset_type: AssetType) -> Probed:
        """Open `url` (presigned http(s), or an absolute path), read both ends and decode the first frames.

        Raises RejectedError with `unsupported`, `unsupported_codec`, `no_video`, `no_audio`, `type_mismatch`,
        `encrypted`, `too_long`, `corrupt` or `resource_limit`. Raises RetryableError when the storage failed or it took
        too long.
        """
        source = await self._open(url)
        streams = source.streams
        audio = await source.listen(self.ffmpeg)
        main = _main_stream(streams, audio, asset_type)
        used = {main, *(track.index for track in select_audio(audio))}
        self._require_length((announced_end(source.container, streams, used) or 0.0) - start_time(source.container))
        sample = await source.sample(main, used)
        times = await source.measure_times(used, sample)
        if times.duration <= 0:
            raise RejectedError(Code.CORRUPT, "the file has no playing time")
        self._require_length(times.duration)
        return Probed(
            container=str(source.container.get("format_name", "")),
            duration=times.duration,
            video=read_video(streams, sample.times.get(main, ())) if asset_type is AssetType.VIDEO else None,
            audio=audio,
            subtitles=read_subtitles(streams),
            ends=times.relative(),
        )

    async def _open(self, url: str) -> "_Source":
        """Read the header."""
        ffprobe = Ffprobe(self.program, self.timeout, scratch=self.scratch)
        options = ("-show_format", "-show_streams")
        described = await ffprobe.read(url, *options)
        if not described.ok and (unlisted := ffprobe_errors.find_unlisted_codecs(described.stderr)):
            # ffprobe opens a file only if it may open each of its tracks. The codecs of tracks that are not used are
            # therefore allowed by name.
            ffprobe = replace(ffprobe, extra_codecs=unlisted)
            described = await ffprobe.read(url, *options)
        if not described.ok or "streams" not in described.document:
            raise ffprobe_errors.explain_failed_open(described.stderr)
        return _Source(ffprobe, url, described.document.get("format", {}), described.document["streams"])

    def _require_length(self, duration: float) -> None:
        if duration > self.max_duration:
            raise RejectedError(Code.TOO_LONG, f"it lasts {duration:.0f} s, allowed are {self.max_duration:.0f}")


@dataclass(frozen=True, slots=True)
class _Source:
    """An opened source: its address, its header, and the ffprobe to read on with."""

    ffprobe: Ffprobe
    url: str
    container: dict[str, Any]
    streams: list[dict[str, Any]]

    async def listen(self, ffmpeg: str) -> tuple[AudioTrack, ...]:
        """Return the sound tracks, with what is heard in them where that decides."""
        claimed = seconds(self.container.get("duration")) or 0.0
        return await listen(replace(self.ffprobe, program=ffmpeg), self.url, read_audio(self.streams), claimed)

    async def sample(self, main: int, used: Collection[int]) -> PacketSample:
        """Read packets of both ends. Raises RejectedError when there is no content, or no frame can be decoded."""
        try:
            async with asyncio.TaskGroup() as group:
                packets = group.create_task(self._read_packets(announced_end(self.container, self.streams, used)))
                frames = group.create_task(self._count_frames(main))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        sample = packets.result()
        if sample.encrypted:
            raise RejectedError(Code.ENCRYPTED, "the tracks are encrypted")
        if main not in sample.times:
            raise RejectedError(Code.CORRUPT, "the file has a header, but no content")
        if not frames.result():
            raise RejectedError(Code.CORRUPT, "the first frames cannot be decoded")
        return sample

    async def measure_times(self, used: Collection[int], sample: PacketSample) -> TrackTimes:
        """Return when the tracks in use begin and end.

        Raises RejectedError(corrupt) when the content does not agree with the header.
        """
        times = measure_track(self.container, self.streams, used, sample)
        if times is not None and not is_sparse(self.container, times.duration):
            return times
        # Neither the header nor the sample is enough: read all packets.
        clock = "dts_time" if self.container.get("format_name") == "avi" else "pts_time"
        options = ("-show_entries", f"packet=stream_index,{clock}", "-of", "csv=p=0")
        child = await self.ffprobe.run(self.url, options, timeout_factor=SCAN_FACTOR)
        if error := ffprobe_errors.find_storage_error(child.stderr.decode(errors="replace")):
            raise error
        scan = await asyncio.to_thread(read_scan, child.stdout, used, start_time(self.container))
        times = times or measure_scanned_track(self.container, used, scan)
        check_filled(scan, times.duration)
        return times

    async def _read_packets(self, end: float | None) -> PacketSample:
        """Read packets from the beginning and, when the end is known, from before it."""
        intervals = f"%+#{HEAD_PACKETS}"
        if end is not None:
            intervals += f",{max(start_time(self.container), end - TAIL_SECONDS):.3f}%+#{TAIL_PACKETS}"
        entries = "packet=stream_index,pts_time,dts_time,duration_time:packet_side_data=side_data_type"
        return read_sample(
            await self.ffprobe.read(self.url, "-show_packets", "-show_entries", entries, "-read_intervals", intervals)
        )

    async def _count_frames(self, stream: int) -> int:
        """Decode the first packets of `stream` and count the frames that come out."""
        reading = await self.ffprobe.read(
            self.url,
            # A clip that was trimmed without being encoded again begins with frames that its edit list hides, maybe
            # seconds of them. They count too.
            *(("-ignore_editlist", "1") if is_mov(self.container) else ()),
            *(f"-threads:{stream}", str(DECODER_THREADS), "-select_streams", str(stream)),
            *("-show_frames", "-show_entries", "frame=media_type"),
            *("-read_intervals", f"%+#{DECODED_PACKETS}"),
        )
        if error := ffprobe_errors.find_storage_error(reading.stderr):
            raise error
        return len(reading.document.get("frames", ()))


def _main_stream(streams: Sequence[dict[str, Any]], audio: Sequence[AudioTrack], asset_type: AssetType) -> int:
    """Return the index of the video's picture track or the recording's audio track.

    Raises RejectedError when there is none that can be used.
    """
    # Matroska and WebM name the key of an encrypted track, MP4 has sample entries of its own.
    if any(s.get("codec_tag_string") in ENCRYPTED_TAGS or "enc_key_id" in s.get("tags", {}) for s in streams):
        raise RejectedError(Code.ENCRYPTED, "the tracks are encrypted")
    video = read_video(streams)
    main_audio = choose_main_audio(audio)
    if main_audio and not main_audio.readable:
        raise RejectedError(Code.UNSUPPORTED_CODEC, f"sound coded as {main_audio.codec_label}")
    if asset_type is AssetType.AUDIO:
        if main_audio is None:
            raise RejectedError(Code.NO_AUDIO, "the file has no sound track")
        if video is not None:
            raise RejectedError(Code.TYPE_MISMATCH, "announced as audio, but it has a picture track")
        return main_audio.index
    if video is None:
        raise RejectedError(Code.NO_VIDEO, "the file has no picture track")
    if video.index != first_picture(streams):
        raise RejectedError(Code.UNSUPPORTED, "a still picture that is not marked as a cover lies before the film")
    if video.codec not in VIDEO_DECODERS:
        raise RejectedError(Code.UNSUPPORTED_CODEC, f"picture coded as {video.codec or 'something unknown'}")
    if not (video.width and video.height):
        raise RejectedError(Code.CORRUPT, "the picture's size cannot be read")
    return video.index
