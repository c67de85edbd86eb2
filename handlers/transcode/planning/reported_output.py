"""The report of an engine on the outputs that it made."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OutputDetail:
    """One output in a COMPLETE event. `path` is `s3://bucket/key`; for a frame capture, that of the last picture."""

    path: str
    duration_ms: int | None = None
    width: int | None = None
    height: int | None = None
    average_bitrate: int | None = None


@dataclass(frozen=True, slots=True)
class OutputGroupDetail:
    """One output group. `type` is `HLS_GROUP`, `FILE_GROUP`, …; `playlists` are the master playlists, `s3://bucket/key`."""

    type: str
    outputs: tuple[OutputDetail, ...] = ()
    playlists: tuple[str, ...] = ()
