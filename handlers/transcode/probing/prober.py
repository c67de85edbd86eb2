"""Probes a source before it is planned: which tracks it has, and whether it can be read to its end."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from handlers.transcode.probing import ffprobe_errors
from handlers.transcode.probing.allowed_formats import ENCRYPTED_STREAM_TYPES, ENCRYPTED_TAGS, VIDEO_DECODERS
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
    measure_scan,
    read_index,
    read_sample,
    scan_packets,
    seconds,
    start_time,
)
from handlers.transcode.probing.ffprobe import Ffprobe
from handlers.transcode.probing.loudness import listen
from handlers.transcode.probing.packet_scan import SCAN_OPTIONS
from handlers.transcode.probing.picture_sizes import PictureSizes, choose_moments, measure_sizes
from handlers.transcode.probing.video_track import (
    Probed,
    SubtitleTrack,
    VideoTrack,
    correct_by_frames,
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
_SIZES = {"video": "width", "audio": "channels"}
"""What ffprobe does not know of a track until it has seen some of it, by the track's type."""
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
        sample = await source.sample(used)
        times = await source.measure_times(used, sample)
        if main not in times.ends or times.duration <= 0:
            raise RejectedError(Code.CORRUPT, "the file has a header, but no content")
        if times.duration > self.max_duration:
            detail = f"it lasts {times.duration:.0f} s, allowed are {self.max_duration:.0f}"
            raise RejectedError(Code.TOO_LONG, detail)
        frames = await source.decode_frames(main, times)
        video, track = None, times.track(main)
        if asset_type is AssetType.VIDEO:
            video = read_video(streams, track.times if track else sample.times.get(main, ()))
            sizes = await source.measure_sizes(main, times)
            video = video and correct_by_frames(video, frames, sizes, begins=source.find_begin(frames, main, times))
        return Probed(
            container=str(source.container.get("format_name", "")),
            duration=times.duration,
            video=video,
            audio=tuple(replace(one, begins=times.begins.get(one.index, one.begins)) for one in audio),
            subtitles=read_subtitles(streams),
            ends=times.ends,
            cut_short=times.cut_short,
            lacking=times.lacking,
            damaged=times.damaged,
            open_end=bool(track and track.guessed),
            pause=times.pause,
            largest_gap=times.scan.largest_gap if times.scan else 0.0,
            smallest_jump=times.scan.smallest_jump if times.scan else 0.0,
            restarts=times.scan.restarts if times.scan else False,
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
        is_stream = str(described.document.get("format", {}).get("format_name", "")).startswith("mpeg")
        found = described.document.get("streams", ())
        sizes = [stream.get(size) for stream in found if (size := _SIZES.get(str(stream.get("codec_type"))))]
        if described.ok and is_stream and not all(sizes):  # it announces tracks that begin later
            ffprobe = replace(ffprobe, patient=True)
            described = await ffprobe.read(url, *options)
        if not described.ok or "streams" not in described.document:
            raise ffprobe_errors.explain_failed_open(described.stderr)
        container, streams = described.document.get("format", {}), described.document["streams"]
        if is_mov(container) and not streams:
            raise ffprobe_errors.explain_empty_index()
        return _Source(ffprobe, url, container, streams)


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

    async def sample(self, used: Collection[int]) -> PacketSample:
        """Read packets of both ends. Raises RejectedError for an encrypted file."""
        intervals = f"%+#{HEAD_PACKETS}"
        if (end := announced_end(self.container, self.streams, used)) is not None and is_mov(self.container):
            intervals += f",{max(start_time(self.container), end - TAIL_SECONDS):.3f}%+#{TAIL_PACKETS}"
        entries = "packet=stream_index,pts_time,dts_time,duration_time:packet_side_data=side_data_type"
        sample = read_sample(
            await self.ffprobe.read(self.url, "-show_packets", "-show_entries", entries, "-read_intervals", intervals)
        )
        if sample.encrypted:
            raise RejectedError(Code.ENCRYPTED, "the tracks are encrypted")
        return sample

    async def measure_times(self, used: Collection[int], sample: PacketSample) -> TrackTimes:
        """Return when the tracks in use begin and end. Raises RejectedError(corrupt) when there is hardly anything."""
        times = read_index(self.container, self.streams, used)
        if times and not ffprobe_errors.is_cut_short(sample.stderr) and not is_sparse(self.container, times.duration):
            return times
        child = await self.ffprobe.run(self.url, SCAN_OPTIONS, timeout_factor=SCAN_FACTOR)
        stderr = child.stderr.decode(errors="replace")
        if error := ffprobe_errors.find_storage_error(stderr):
            raise error
        scan = await asyncio.to_thread(scan_packets, self.container, self.streams, used, child.stdout)
        if scan.encrypted:
            raise RejectedError(Code.ENCRYPTED, "the tracks are encrypted")
        times = measure_scan(self.container, self.streams, used, scan, stderr)
        if is_sparse(self.container, times.duration):
            check_filled(scan, times.duration)
        return times

    async def decode_frames(self, stream: int, times: TrackTimes) -> list[dict[str, Any]]:
        """Decode the first packets of `stream`, and return the frames that come out.

        Raises RejectedError(corrupt) when there are none.
        """
        track = times.track(stream)
        # A transport stream that was cut out of a longer one begins with pictures that need an earlier one.
        for packets in (DECODED_PACKETS, DECODED_PACKETS + (track.before_key if track else 0)):
            reading = await self.ffprobe.read(
                self.url,
                # A clip that was trimmed without being encoded again begins with frames that its edit list hides, maybe
                # seconds of them. They count too.
                *(("-ignore_editlist", "1") if is_mov(self.container) else ()),
                *(f"-threads:{stream}", str(DECODER_THREADS), "-select_streams", str(stream), "-show_frames"),
                *("-show_entries", "frame=best_effort_timestamp_time,interlaced_frame,color_space"),
                *("-read_intervals", f"%+#{packets}"),
            )
            if error := ffprobe_errors.find_storage_error(reading.stderr):
                raise error
            if frames := reading.document.get("frames"):
                return list(frames)
        raise RejectedError(Code.CORRUPT, "the first frames cannot be decoded")

    def find_begin(self, frames: Sequence[dict[str, Any]], stream: int, times: TrackTimes) -> float:
        """Return when the first picture is shown that can be decoded."""
        decoded = [at for one in frames if (at := seconds(one.get("best_effort_timestamp_time"))) is not None]
        # An MP4 was opened without its edit list, so its frames have other times. Its index is right.
        if is_mov(self.container) or not decoded:
            return times.begins[stream]
        return min(decoded) - start_time(self.container)

    async def measure_sizes(self, stream: int, times: TrackTimes) -> PictureSizes:
        """Return the sizes that the pictures of `stream` have, by seconds."""
        track = times.track(stream)
        moments = choose_moments(track, self.streams[stream], self.container) if track else None
        if moments is None:
            return PictureSizes()
        zero = start_time(self.container)
        intervals = ",".join(f"{max(0.0, zero + moment):.3f}%+#1" for moment in moments)
        reading = await self.ffprobe.read(
            self.url,
            *(f"-threads:{stream}", str(DECODER_THREADS), "-select_streams", str(stream), "-show_frames"),
            *("-show_entries", "frame=best_effort_timestamp_time,width,height,sample_aspect_ratio,interlaced_frame"),
            *(("-read_intervals", intervals) if moments else ("-skip_frame", "nokey")),
            timeout_factor=1 if moments else SCAN_FACTOR,
        )
        if error := ffprobe_errors.find_storage_error(reading.stderr):
            raise error
        frames = reading.document.get("frames", [])
        return measure_sizes(frames, zero=zero, end=times.ends[stream])


def _main_stream(streams: Sequence[dict[str, Any]], audio: Sequence[AudioTrack], asset_type: AssetType) -> int:
    """Return the index of the video's picture track or the recording's audio track.

    Raises RejectedError when there is none that can be used.
    """
    # Matroska and WebM name the key of an encrypted track, MP4 has sample entries of its own.
    if any(
        s.get("codec_tag_string") in ENCRYPTED_TAGS
        or s.get("codec_tag") in ENCRYPTED_STREAM_TYPES
        or "enc_key_id" in s.get("tags", {})
        for s in streams
    ):
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
