"""Collection of ffmpeg's files in the working directory: their uploads and the details to report."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local.mediaconvert import errors, playlists
from deploy.local.mediaconvert.job import GroupDetail, OutputDetail
from deploy.local.mediaconvert.objects import CONTENT_TYPES, Upload
from deploy.local.mediaconvert.planned import Capture, GroupPlan, OutputPlan, Plan
from deploy.local.mediaconvert.probe import Source, duration_of
from handlers.transcode.hls_check.playlist import PlaylistError


@dataclass(frozen=True, slots=True)
class CollectedOutputs:
    """Outputs of one job. Write `uploads` stage by stage. `duration` is that of the longest one, in seconds."""

    groups: tuple[GroupDetail, ...]
    uploads: tuple[tuple[Upload, ...], ...]
    duration: float


@dataclass(frozen=True, slots=True)
class _Group:
    detail: GroupDetail
    media: list[Upload]
    playlists: list[Upload]
    masters: list[Upload]


async def collect(ffprobe: str, plan: Plan, source: Source, folder: Path) -> CollectedOutputs:
    """Collect all outputs of a plan. Raises JobFailedError for one that is missing or invalid."""
    found = []
    for group in plan.groups:
        if group.kind == "HLS_GROUP":
            found.append(await asyncio.to_thread(_hls, group, folder))
        else:
            found.append(await _files(ffprobe, group, source, folder))
    stages = (
        tuple(upload for group in found for upload in group.media),
        tuple(upload for group in found for upload in group.playlists),
        tuple(upload for group in found for upload in group.masters),
    )
    details = tuple(group.detail for group in found)
    longest = max((output.duration_ms for group in details for output in group.outputs), default=0)
    return CollectedOutputs(details, stages, longest / 1000)


def _hls(group: GroupPlan, folder: Path) -> _Group:
    try:
        renditions = [playlists.read_rendition(output, folder) for output in group.outputs]
        written = [upload for rendition in renditions for upload in _playlists(group, rendition)]
        master = _upload(group, f"{group.name}.m3u8", playlists.master_playlist(group, renditions))
    except (OSError, ValueError, PlaylistError) as error:
        raise errors.JobFailedError(errors.BROKEN_STRUCTURE, f"HLS output failed: {error}") from error
    media = [
        _upload(group, _in_same_folder(rendition.plan, segment.name), segment.path)
        for rendition in renditions
        for segment in rendition.segments
    ]
    details = tuple(
        _detail(
            rendition.plan,
            [f"s3://{group.bucket}/{_in_same_folder(rendition.plan, rendition.file_name)}"],
            rendition.duration,
            rendition.average_bitrate,
        )
        for rendition in renditions
    )
    return _Group(GroupDetail(kind=group.kind, playlists=(master.address,), outputs=details), media, written, [master])


def _playlists(group: GroupPlan, rendition: playlists.Rendition) -> list[Upload]:
    plan = rendition.plan
    written = [_upload(group, _in_same_folder(plan, rendition.file_name), playlists.media_playlist(rendition))]
    if plan.iframes:
        text = playlists.iframe_playlist(rendition)
        written.append(_upload(group, _in_same_folder(plan, rendition.iframe_file_name), text))
    return written


async def _files(ffprobe: str, group: GroupPlan, source: Source, folder: Path) -> _Group:
    media: list[Upload] = []
    details = []
    for output in group.outputs:
        if isinstance(output.video, Capture):
            stills = _stills(group, output, folder)
            media += stills
            # The service names only the last picture.
            details.append(_detail(output, [stills[-1].address], source.duration, None))
        else:
            file = _upload(group, f"{output.name}.{output.extension}", folder / f"{output.local}.mp4", output)
            media.append(file)
            path = Path(file.content)
            duration = await duration_of(ffprobe, path)
            size = (await asyncio.to_thread(path.stat)).st_size
            bitrate = round(size * 8 / duration) if duration else None
            details.append(_detail(output, [file.address], duration, bitrate))
    return _Group(GroupDetail(kind=group.kind, playlists=(), outputs=tuple(details)), media, [], [])


def _stills(group: GroupPlan, output: OutputPlan, folder: Path) -> list[Upload]:
    files = sorted(folder.glob(f"{output.local}.*.jpg"))
    if not files:
        raise errors.JobFailedError(errors.NO_VIDEO, "Video sync did not read enough good frames to process")
    return [
        _upload(group, f"{output.name}{file.name.removeprefix(output.local)[:-3]}{output.extension}", file, output)
        for file in files
    ]


def _detail(plan: OutputPlan, paths: Sequence[str], duration: float, bitrate: int | None) -> OutputDetail:
    picture = plan.video.picture if plan.video else None
    return OutputDetail(
        paths=tuple(paths),
        duration_ms=round(duration * 1000),
        width=picture.width if picture else None,
        height=picture.height if picture else None,
        average_bitrate=bitrate,
    )


def _upload(group: GroupPlan, key: str, content: Path | str, output: OutputPlan | None = None) -> Upload:
    kind = CONTENT_TYPES.get(key.rpartition(".")[2], "application/octet-stream")
    if output and output.video is None:
        kind = CONTENT_TYPES["m4a"]  # Sound alone, whatever the extension.
    return Upload(group.bucket, key, content, kind)


def _in_same_folder(plan: OutputPlan, file_name: str) -> str:
    """Put `file_name` into the folder that the output is written to."""
    folder, slash, _ = plan.name.rpartition("/")
    return f"{folder}{slash}{file_name}"
