"""Writes the playlists and uploads the files that ffmpeg left in its working directory."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from handlers.transcode.ffmpeg.segment_uploader import UploadedSegment
from handlers.transcode.hls_check.playlist import PlaylistError, parse_media
from handlers.transcode.packaging.finalizer import Finalizer
from handlers.transcode.packaging.outputs import (
    HLS_FOLDER,
    HLS_TYPE,
    JPEG_TYPE,
    M4A_TYPE,
    MP4_TYPE,
    POSTER_FILE,
    alternate_audio_name,
    variant_name,
)
from handlers.transcode.packaging.playlists import I_FRAMES, PlaylistEntry, i_frame_playlist, media_playlist
from handlers.transcode.planning.names import M4A_NAME, MP4_NAME
from handlers.transcode.planning.plan import Plan, Rung
from media.errors import Code, RejectedError, RetryableError

LEAST_MADE = 0.5
"""Share of the announced duration. When less comes out, the rest of the file is missing."""
_TYPES = {f"{MP4_NAME}.mp4": MP4_TYPE, f"{M4A_NAME}.m4a": M4A_TYPE}

type Variant = Sequence[tuple[float, UploadedSegment]]
"""Duration in seconds and segment, in the order of one variant."""


async def upload_outputs(
    finalizer: Finalizer, plan: Plan, folder: Path, prefix: str, uploaded_segments: Mapping[str, UploadedSegment]
) -> None:
    """Write the playlists of all variants, the MP4 or M4A, and the posters below `prefix`.

    Raises RejectedError(corrupt) when far less came out than the source announced, RetryableError when a file of ffmpeg
    is missing or not whole.
    """
    rungs: list[Rung | None] = [*plan.rungs]
    for rung in rungs or [None]:
        name = variant_name(rung)
        variant = await asyncio.to_thread(_read_variant, folder / f"{name}.m3u8", uploaded_segments)
        if sum(duration for duration, _ in variant) < LEAST_MADE * plan.duration_ms / 1000:
            raise RejectedError(Code.CORRUPT, "the content ends long before the file says")
        texts = {f"{name}.m3u8": media_playlist([PlaylistEntry(one.name, duration) for duration, one in variant])}
        if rung:
            texts[f"{name}{I_FRAMES}.m3u8"] = i_frame_playlist(_i_frames(variant, 1 / float(plan.fps)))
        for file, text in texts.items():
            await finalizer.storage.write(finalizer.bucket, prefix + HLS_FOLDER + file, text.encode(), HLS_TYPE)
    for audio in plan.alternate_audio:
        name = alternate_audio_name(audio)
        variant = await asyncio.to_thread(_read_variant, folder / f"{name}.m3u8", uploaded_segments)
        text = media_playlist([PlaylistEntry(one.name, duration) for duration, one in variant])
        await finalizer.storage.write(finalizer.bucket, prefix + HLS_FOLDER + f"{name}.m3u8", text.encode(), HLS_TYPE)
    for path in await asyncio.to_thread(lambda: sorted(folder.iterdir())):
        if kind := _TYPES.get(path.name) or (JPEG_TYPE if POSTER_FILE.fullmatch(path.name) else None):
            await finalizer.transfer.upload(finalizer.bucket, prefix + path.name, path, kind)


def _read_variant(playlist: Path, uploaded_segments: Mapping[str, UploadedSegment]) -> Variant:
    """Read the playlist of a variant. Raises RetryableError when it lists a segment that was not uploaded."""
    try:
        media = parse_media(playlist.read_text(encoding="utf-8"))
        return [(segment.duration, uploaded_segments[segment.uri]) for segment in media.segments]
    except (OSError, PlaylistError, KeyError) as error:
        raise RetryableError(Code.TRANSCODER_ERROR, f"ffmpeg left no whole {playlist.name}: {error!r}") from error


def _i_frames(variant: Variant, shortest: float) -> list[PlaylistEntry]:
    """List the IDR pictures. Each lasts until the next one, the last until the end, and at least `shortest` seconds."""
    frames = [(one, frame) for _, one in variant for frame in one.content.keyframes]
    if not frames:
        raise RetryableError(Code.TRANSCODER_ERROR, "ffmpeg made segments without IDR pictures")
    times = [frame.time for _, frame in frames]
    times.append(times[0] + sum(duration for duration, _ in variant))
    return [
        PlaylistEntry(one.name, max(end - begin, shortest), frame.size, frame.offset, one.content.header)
        for (one, frame), (begin, end) in zip(frames, pairwise(times), strict=True)
    ]
