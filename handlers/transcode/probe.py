"""Looks into a source before anything is planned: what it holds, and whether it can really be read to its end."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handlers.transcode import complaints
from handlers.transcode.ffprobe import Ffprobe, Reading
from handlers.transcode.formats import ENCRYPTED_TAGS, VIDEO_DECODERS
from handlers.transcode.tracks import (
    AudioTrack,
    Probed,
    SubtitleTrack,
    VideoTrack,
    chosen_sound,
    first_picture,
    read_audio,
    read_subtitles,
    read_video,
)
from media.asset import AssetType
from media.errors import Code, RejectedError

__all__ = ["AudioTrack", "Probed", "Prober", "SubtitleTrack", "VideoTrack"]

HEAD_PACKETS = 400
"""Of all tracks together, read from the beginning: some seconds of frames, enough to tell a variable rate."""
DECODED_PACKETS = 12
DECODER_THREADS = 2
TAIL_SECONDS = 3.0
TAIL_PACKETS = 6000
"""Read from the last key frame before the tail on; a bound, since a key frame may be far away."""
CUT_SHARE = 0.1
"""Outside MP4 a header's duration is only a hint; a file that ends this much earlier was cut short."""
LISTED_TAIL = 64 * 1024
"""Bytes: some thousand lines of a time stamp and a duration each."""
SCAN_FACTOR = 10
"""How many times longer reading a whole file may take than opening it."""
MAX_DURATION = 8 * 3600.0


@dataclass(frozen=True, slots=True)
class _Sample:
    """Packets read from a source: presentation and end times in seconds by track, and what was odd."""

    times: Mapping[int, Sequence[float]]
    ends: Sequence[float]
    encrypted: bool
    complaint: str


class Prober:
    """Probes sources with ffprobe.

    `timeout` is seconds for opening and sampling a source; one whose header does not say how long it is must be read
    whole and may take ten times as long. `max_duration` is seconds. Its private folders lie below `scratch`.
    """

    def __init__(
        self,
        ffprobe: str = "ffprobe",
        *,
        timeout: float = 30,
        max_duration: float = MAX_DURATION,
        scratch: Path | None = None,
    ) -> None:
        self._ffprobe = Ffprobe(ffprobe, timeout, scratch=scratch)
        self._max_duration = max_duration

    async def probe(self, url: str, *, asset_type: AssetType) -> Probed:
        """Opens `url` (presigned http(s), or an absolute path), reads both ends and decodes the first frames.

        Raises RejectedError with `unsupported`, `unsupported_codec`, `no_video`, `no_audio`, `type_mismatch`,
        `encrypted`, `too_long`, `corrupt` or `resource_limit`; RetryableError when the storage failed or it took too
        long.
        """
        described = await self._ffprobe.read(url, "-show_format", "-show_streams")
        if not described.ok or "streams" not in described.document:
            raise complaints.unopenable(described.complaint)
        streams: list[dict[str, Any]] = described.document["streams"]
        container = described.document.get("format", {})
        main = _main_stream(streams, asset_type)
        sample, duration = await self._sample(url, container, main)
        return Probed(
            container=str(container.get("format_name", "")),
            duration=duration,
            video=read_video(streams, sample.times.get(main, ())) if asset_type is AssetType.VIDEO else None,
            audio=read_audio(streams),
            subtitles=read_subtitles(streams),
        )

    async def _sample(self, url: str, container: Mapping[str, Any], main: int) -> tuple[_Sample, float]:
        """Proves that there is content behind the header, at both ends, and finds the duration in seconds."""
        start = _seconds(container.get("start_time")) or 0.0
        # A recorder that was never told the end leaves 0 in the header.
        declared = _seconds(container.get("duration")) or None
        if declared and declared > self._max_duration:
            raise RejectedError(Code.TOO_LONG, f"it lasts {declared:.0f} s, allowed are {self._max_duration:.0f}")
        async with asyncio.TaskGroup() as group:
            packets = group.create_task(self._packets(url, start, declared))
            frames = group.create_task(self._decode(url, main, mov=_is_mov(container)))
        sample = packets.result()
        _check_sample(sample, main, frames.result())
        end = await self._end(url, main) if declared is None else _checked_end(sample, container, start, declared)
        duration = end - start
        if duration <= 0:
            raise RejectedError(Code.CORRUPT, "the file has no playing time")
        if duration > self._max_duration:
            raise RejectedError(Code.TOO_LONG, f"it lasts {duration:.0f} s, allowed are {self._max_duration:.0f}")
        return sample, duration

    async def _packets(self, url: str, start: float, duration: float | None) -> _Sample:
        """Packets from the beginning and, where the duration is known, from before the end."""
        intervals = f"%+#{HEAD_PACKETS}"
        if duration:
            intervals += f",{max(start, start + duration - TAIL_SECONDS):.3f}%+#{TAIL_PACKETS}"
        entries = "packet=stream_index,pts_time,dts_time,duration_time:packet_side_data=side_data_type"
        return _read_sample(
            await self._ffprobe.read(url, "-show_packets", "-show_entries", entries, "-read_intervals", intervals)
        )

    async def _decode(self, url: str, stream: int, *, mov: bool) -> int:
        """How many frames come out of the first packets of `stream`.

        A clip that was trimmed without encoding it anew begins with frames that its edit list hides, seconds of them:
        they are looked at too.
        """
        reading = await self._ffprobe.read(
            url,
            *(("-ignore_editlist", "1") if mov else ()),
            # Each thread of a decoder holds pictures of its own; many cores must not need more memory than a few.
            *("-threads", str(DECODER_THREADS), "-select_streams", str(stream)),
            *("-show_frames", "-show_entries", "frame=media_type"),
            *("-read_intervals", f"%+#{DECODED_PACKETS}"),
        )
        if error := complaints.unreachable(reading.complaint):
            raise error
        return len(reading.document.get("frames", ()))

    async def _end(self, url: str, stream: int) -> float:
        """When the last packet of `stream` ends, found by reading all of the file."""
        options = ("-select_streams", str(stream), "-show_entries", "packet=pts_time,duration_time", "-of", "csv=p=0")
        child = await self._ffprobe.run(url, options, timeout_factor=SCAN_FACTOR)
        if error := complaints.unreachable(child.stderr.decode(errors="replace")):
            raise error
        return max(_csv_ends(child.stdout), default=0.0)


def _main_stream(streams: Sequence[Mapping[str, Any]], asset_type: AssetType) -> int:
    """The index of the track that the asset is about. Raises RejectedError when there is none that can be used."""
    if any(stream.get("codec_tag_string") in ENCRYPTED_TAGS for stream in streams):
        raise RejectedError(Code.ENCRYPTED, "the tracks are encrypted")
    video, audio = read_video(streams), read_audio(streams)
    sound = chosen_sound(audio)
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


def _read_sample(reading: Reading) -> _Sample:
    if error := complaints.unreachable(reading.complaint):
        raise error
    packets: list[dict[str, Any]] = reading.document.get("packets", [])
    times: dict[int, list[float]] = {}
    for packet in packets[:HEAD_PACKETS]:
        if (time := _seconds(packet.get("pts_time"))) is not None:
            times.setdefault(int(packet["stream_index"]), []).append(time)
    sides = [side for packet in packets for side in packet.get("side_data_list", ())]
    encrypted = any(side.get("side_data_type") == "Encryption info" for side in sides)
    return _Sample(times, [*_ends(packets)], encrypted or complaints.protected(reading.complaint), reading.complaint)


def _ends(packets: Sequence[Mapping[str, Any]]) -> Iterator[float]:
    for packet in packets:
        time = _seconds(packet.get("pts_time")) or _seconds(packet.get("dts_time"))
        if time is not None:
            yield time + (_seconds(packet.get("duration_time")) or 0.0)


def _csv_ends(lines: bytes) -> Iterator[float]:
    """When the last packets end, in seconds. Only the tail is read: packets are out of order by a few frames at most,
    and all time stamps of a long recording would hold up the event loop.
    """
    tail = lines[-LISTED_TAIL:]
    complete = tail if len(tail) == len(lines) else tail.partition(b"\n")[2]
    for line in complete.splitlines():
        values = [_seconds(value.decode()) for value in line.split(b",")[:2]]
        if values[0] is not None:
            yield values[0] + (values[-1] or 0.0 if len(values) > 1 else 0.0)


def _check_sample(sample: _Sample, main: int, frames: int) -> None:
    """Raises RejectedError unless there are packets of the main track and frames come out of them."""
    if sample.encrypted:
        raise RejectedError(Code.ENCRYPTED, "the tracks are encrypted")
    if main not in sample.times:
        raise RejectedError(Code.CORRUPT, "the file has a header, but no content")
    if not frames:
        raise RejectedError(Code.CORRUPT, "the first frames cannot be decoded")


def _checked_end(sample: _Sample, container: Mapping[str, Any], start: float, declared: float) -> float:
    """When the source ends, in seconds. Raises RejectedError when it ends before its header says.

    An MP4's index names every byte, so its reader notices a single one missing. Elsewhere the header's duration is
    checked against the last packet.
    """
    end = max(sample.ends, default=start)
    exact = _is_mov(container)
    missing = (
        complaints.cut_short(sample.complaint)
        if exact
        else start + declared - end > TAIL_SECONDS + declared * CUT_SHARE
    )
    if missing:
        raise RejectedError(Code.CORRUPT, f"the file was cut short: {declared:.1f} s announced, less there")
    # Other headers may count from zero where the first time stamp is below it.
    return start + declared if exact else max(start + declared, end)


def _is_mov(container: Mapping[str, Any]) -> bool:
    return str(container.get("format_name", "")).startswith("mov")


def _seconds(text: object) -> float | None:
    """Decimal seconds as ffprobe writes them; None for `N/A` and whatever else is no finite number."""
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None
