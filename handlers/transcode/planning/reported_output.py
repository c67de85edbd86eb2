"""What an engine reports of the outputs that it made."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OutputDetail:
    """One output as COMPLETE reports it. `path` is `s3://bucket/key`, of the last picture for a frame capture."""

    path: str
    duration_ms: int | None = None
    width: int | None = None
    height: int | None = None
    average_bitrate: int | None = None


@dataclass(frozen=True, slots=True)
class OutputGroupDetail:
    """`type` is `HLS_GROUP`, `FILE_GROUP`, …; `playlists` are the master playlists, `s3://bucket/key`."""

    type: str
    outputs: tuple[OutputDetail, ...] = ()
    playlists: tuple[str, ...] = ()
