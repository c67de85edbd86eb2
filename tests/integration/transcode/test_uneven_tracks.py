"""Tracks that begin or end apart, as recorders write them: both engines fill up the gaps and note it."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from handlers.transcode.hls_check.playlist import parse_media
from media.asset import Asset
from tests.integration.transcode.engine_harness import Harness, transcode_with_both
from tests.integration.transcode.playback import IN_SYNC, play, probe_entries
from tests.integration.transcode.source_clips import AAC, H264, Clip, run_ffmpeg

RATE = Clip("any", 320, 180).fps
EXACT = 0.2
"""Seconds of tolerance: the header of a transport stream is exact to its last packet of audio."""


@dataclass(frozen=True)
class Uneven:
    """Seconds that picture and audio last, and by how much each begins later than the other."""

    name: str
    picture: float
    sound: float
    picture_late: float = 0
    sound_late: float = 0
    suffix: str = "mp4"
    note: str = ""
    everyday: bool = False

    @property
    def lasts(self) -> float:
        return max(self.picture_late + self.picture, self.sound_late + self.sound)

    def make(self, folder: Path) -> Path:
        """Make a picture that turns white, and a tone that begins at the same moment."""
        path = folder / f"{self.name}.{self.suffix}"
        at = self.event
        white = f"drawbox=x=0:y=0:w=iw:h=ih:c=white:t=fill:enable='gte(t,{at - self.picture_late})'"
        shown = f"color=c=black:s=320x180:r={RATE}:d={self.picture},{white},noise=alls=12:allf=t"
        tone = f"aevalsrc='0.4*sin(880*PI*t)*gte(t,{at - self.sound_late})':s=48000:d={self.sound}"
        inputs = ["-itsoffset", self.picture_late, "-f", "lavfi", "-i", shown]
        inputs += ["-itsoffset", self.sound_late, "-f", "lavfi", "-i", tone]
        run_ffmpeg(*map(str, inputs), *H264, *AAC, path)
        return path

    @property
    def event(self) -> float:
        """The time in seconds of the event, while there are picture and audio."""
        begin = max(self.picture_late, self.sound_late)
        end = min(self.picture_late + self.picture, self.sound_late + self.sound)
        return (begin + end) / 2


FILLED, SILENT = "the picture ends before the sound and is filled up", "sound ends before the picture, silence follows"
CASES = [
    Uneven("webinar-tail", 3, 8, note=FILLED, everyday=True),
    Uneven("webinar-tail", 3, 8, suffix="mkv", note=FILLED),
    Uneven("webinar-tail", 3, 8, suffix="ts", note=FILLED),
    Uneven("sound-stops", 8, 3, note=SILENT, everyday=True),
    Uneven("sound-stops", 8, 3, suffix="mkv", note=SILENT),
    Uneven("sound-stops", 8, 3, suffix="ts", note=SILENT),
    Uneven("sound-late", 6, 4, sound_late=2),
    Uneven("picture-late", 4, 6, picture_late=2),
    Uneven("apart", 3, 3, sound_late=1.5, note=FILLED),
    Uneven("around", 2, 8, picture_late=3, note=FILLED),
]


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=f"{case.name}-{case.suffix}", marks=() if case.everyday else pytest.mark.matrix)
        for case in CASES
    ],
)
async def test_all_outputs_last_as_long_as_the_longest_track(case: Uneven, harness: Harness, tmp_path: Path) -> None:
    for asset in await transcode_with_both(harness, case.make(tmp_path)):
        await check_asset(case, asset, harness)


async def check_asset(case: Uneven, asset: Asset, harness: Harness) -> None:
    assert asset.duration_ms is not None
    assert asset.duration_ms / 1000 == pytest.approx(case.lasts, abs=EXACT)
    notes = " ".join(entry.detail for entry in await harness.assets.timeline(asset.asset_id))
    assert (case.note in notes) if case.note else (FILLED not in notes and SILENT not in notes)
    folder = await harness.fetch_outputs(asset)
    variant = folder / "hls/master_180p.m3u8"
    listed = sum(segment.duration for segment in parse_media(variant.read_text()).segments)
    assert listed == pytest.approx(case.lasts, abs=EXACT)
    for path in (folder / "video.mp4", variant):
        for streams in ("v", "a"):
            assert length(path, streams) == pytest.approx(case.lasts, abs=EXACT), (path, streams)
        found = await play(path, RATE, harness.folder, sound=True)
        assert found.white == pytest.approx(case.event, abs=0.1)
        assert abs(found.offset) <= IN_SYNC


def length(path: Path, streams: str) -> float:
    """Return the seconds from zero to the end of the last packet."""
    packets = probe_entries(path, "packet=pts_time,duration_time", streams).split()
    times = [float(time) for time in packets[::2]]
    begin = (
        0.0
        if path.suffix == ".mp4"
        else min(float(start) for start in probe_entries(path, "format=start_time").split())
    )
    return max(times) + float(packets[1]) - begin
