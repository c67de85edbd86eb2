"""Looks into a source before anything is planned: what it holds, and whether it can really be read to its end."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from handlers.transcode.probing import ffprobe_errors
from handlers.transcode.probing.allowed_formats import ENCRYPTED_TAGS, VIDEO_DECODERS
from handlers.transcode.probing.audio_track import AudioTrack, plan_audio, read_audio, select_audio
from handlers.transcode.probing.duration import (
    HEAD_PACKETS,
    TAIL_PACKETS,
    TAIL_SECONDS,
    PacketSample,
    PacketScan,
    TrackTimes,
    announced_end,
    begin_of,
    check_filled,
    is_mov,
    measure_scanned_track,
    measure_track,
    read_sample,
    read_scan,
    suspicious,
)
from handlers.transcode.probing.ffprobe import Ffprobe, ProbeReading
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
DECODER_THREADS = 2
SCAN_FACTOR = 10
"""How many times longer reading a whole file may take than opening it."""
MAX_DURATION = 8 * 3600.0


@dataclass(frozen=True, slots=True)
class Prober:
    """Probes sources with ffprobe.

    `timeout` is seconds for opening and sampling a source; one whose header does not say how long it is must be read
    whole and may take ten times as long. `max_duration` is seconds. Its private folders lie below `scratch`.
    """

    program: str = "ffprobe"
    timeout: float = 30
    max_duration: float = MAX_DURATION
    scratch: Path | None = None

    async def probe(self, url: str, *, asset_type: AssetType) -> Probed:
        """Opens `url` (presigned http(s), or an absolute path), reads both ends and decodes the first frames.

        Raises RejectedError with `unsupported`, `unsupported_codec`, `no_video`, `no_audio`, `type_mismatch`,
        `encrypted`, `too_long`, `corrupt` or `resource_limit`; RetryableError when the storage failed or it took too
        long.
        """
        source = await self._open(url)
        streams = source.streams
        main = _main_stream(streams, asset_type)
        used = {main, *(track.index for track in select_audio(read_audio(streams)))}
        self._require_length((announced_end(source.container, streams, used) or 0.0) - begin_of(source.container))
        sample = await source.sample(main, used)
        extent = await source.extent(used, sample)
        if extent.duration <= 0:
            raise RejectedError(Code.CORRUPT, "the file has no playing time")
        self._require_length(extent.duration)
        return Probed(
            container=str(source.container.get("format_name", "")),
            duration=extent.duration,
            video=read_video(streams, sample.times.get(main, ())) if asset_type is AssetType.VIDEO else None,
            audio=read_audio(streams),
            subtitles=read_subtitles(streams),
            ends=extent.relative(),
        )

    async def _open(self, url: str) -> "_Source":
        """No file opens to ffprobe of which it may not open every track: those that are beside are allowed by name."""
        ffprobe = Ffprobe(self.program, self.timeout, scratch=self.scratch)
        described = await _describe(ffprobe, url)
        if not described.ok and (named := ffprobe_errors.unlisted_codecs(described.complaint)):
            ffprobe = replace(ffprobe, beside=named)
            described = await _describe(ffprobe, url)
        if not described.ok or "streams" not in described.document:
            raise ffprobe_errors.unopenable(described.complaint)
        return _Source(ffprobe, url, described.document.get("format", {}), described.document["streams"])

    def _require_length(self, duration: float) -> None:
        if duration > self.max_duration:
            raise RejectedError(Code.TOO_LONG, f"it lasts {duration:.0f} s, allowed are {self.max_duration:.0f}")


async def _describe(ffprobe: Ffprobe, url: str) -> ProbeReading:
    return await ffprobe.read(url, "-show_format", "-show_streams")


@dataclass(frozen=True, slots=True)
class _Source:
    """One source that was opened: its address, its header, and how to read on."""

    ffprobe: Ffprobe
    url: str
    container: dict[str, Any]
    streams: list[dict[str, Any]]

    async def sample(self, main: int, used: Collection[int]) -> PacketSample:
        """Packets of both ends. Raises RejectedError unless there is content behind the header, and frames in it."""
        try:
            async with asyncio.TaskGroup() as group:
                packets = group.create_task(self._packets(announced_end(self.container, self.streams, used)))
                frames = group.create_task(self._decode(main))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        _check_sample(packets.result(), main, frames.result())
        return packets.result()

    async def extent(self, used: Collection[int], sample: PacketSample) -> TrackTimes:
        """How long the tracks in use last. Raises RejectedError(corrupt) when it is not what the header says."""
        extent = measure_track(self.container, self.streams, used, sample)
        if extent is not None and not suspicious(self.container, extent.duration):
            return extent
        scan = await self._scan(used)
        extent = extent or measure_scanned_track(self.container, used, scan)
        check_filled(scan, extent.duration)
        return extent

    async def _packets(self, end: float | None) -> PacketSample:
        """Packets from the beginning and, where the end is known, from before it."""
        intervals = f"%+#{HEAD_PACKETS}"
        if end is not None:
            intervals += f",{max(begin_of(self.container), end - TAIL_SECONDS):.3f}%+#{TAIL_PACKETS}"
        entries = "packet=stream_index,pts_time,dts_time,duration_time:packet_side_data=side_data_type"
        return read_sample(
            await self.ffprobe.read(self.url, "-show_packets", "-show_entries", entries, "-read_intervals", intervals)
        )

    async def _decode(self, stream: int) -> int:
        """How many frames come out of the first packets of `stream`.

        A clip that was trimmed without encoding it anew begins with frames that its edit list hides, seconds of them:
        they are looked at too.
        """
        reading = await self.ffprobe.read(
            self.url,
            *(("-ignore_editlist", "1") if is_mov(self.container) else ()),
            # Each thread of a decoder holds pictures of its own; many cores must not need more memory than a few.
            *(f"-threads:{stream}", str(DECODER_THREADS), "-select_streams", str(stream)),
            *("-show_frames", "-show_entries", "frame=media_type"),
            *("-read_intervals", f"%+#{DECODED_PACKETS}"),
        )
        if error := ffprobe_errors.unreachable(reading.complaint):
            raise error
        return len(reading.document.get("frames", ()))

    async def _scan(self, used: Collection[int]) -> PacketScan:
        """Reads all of the file."""
        time = "dts_time" if self.container.get("format_name") == "avi" else "pts_time"
        options = ("-show_entries", f"packet=stream_index,{time}", "-of", "csv=p=0")
        child = await self.ffprobe.run(self.url, options, timeout_factor=SCAN_FACTOR)
        if error := ffprobe_errors.unreachable(child.stderr.decode(errors="replace")):
            raise error
        return await asyncio.to_thread(read_scan, child.stdout, used, begin_of(self.container))


def _main_stream(streams: Sequence[dict[str, Any]], asset_type: AssetType) -> int:
    """The index of the track that the asset is about. Raises RejectedError when there is none that can be used."""
    if any(stream.get("codec_tag_string") in ENCRYPTED_TAGS for stream in streams):
        raise RejectedError(Code.ENCRYPTED, "the tracks are encrypted")
    video, audio = read_video(streams), read_audio(streams)
    sound = plan_audio(audio)
    if sound and not sound.readable:
        raise RejectedError(Code.UNSUPPORTED_CODEC, f"sound coded as {sound.coding}")
    if asset_type is AssetType.AUDIO:
        return _main_audio(video, sound)
    if video is None:
        raise RejectedError(Code.NO_VIDEO, "the file has no picture track")
    if video.index != first_picture(streams):
        raise RejectedError(Code.UNSUPPORTED, "a still picture that is not marked as a cover lies before the film")
    if video.codec not in VIDEO_DECODERS:
        raise RejectedError(Code.UNSUPPORTED_CODEC, f"picture coded as {video.codec or 'something unknown'}")
    if not (video.width and video.height):
        raise RejectedError(Code.CORRUPT, "the picture's size cannot be read")
    return video.index


def _main_audio(video: VideoTrack | None, sound: AudioTrack | None) -> int:
    if sound is None:
        raise RejectedError(Code.NO_AUDIO, "the file has no sound track")
    if video is not None:
        raise RejectedError(Code.TYPE_MISMATCH, "announced as audio, but it has a picture track")
    return sound.index


def _check_sample(sample: PacketSample, main: int, frames: int) -> None:
    if sample.encrypted:
        raise RejectedError(Code.ENCRYPTED, "the tracks are encrypted")
    if main not in sample.times:
        raise RejectedError(Code.CORRUPT, "the file has a header, but no content")
    if not frames:
        raise RejectedError(Code.CORRUPT, "the first frames cannot be decoded")
