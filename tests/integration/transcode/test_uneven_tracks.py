"""Tracks that begin or end apart, as recorders write them: both engines fill up what is missing, and say so."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from handlers.transcode.hls_check.playlist import parse_media
from media.asset import Asset
from tests.integration.transcode.cases import AAC, H264, Case
from tests.integration.transcode.judge import play
from tests.integration.transcode.studio import Studio
from tests.integration.transcode.test_odd_sources import IN_SYNC, ffmpeg, look, on_both

RATE = Case("any", 320, 180).fps
EXACT = 0.2
"""Seconds. By its header alone, a transport stream is known to within its last packet of sound."""


@dataclass(frozen=True)
class Uneven:
    """Seconds that picture and sound last, and by how much each begins later than the other."""

    name: str
    picture: float
    sound: float
    picture_late: float = 0
    sound_late: float = 0
    suffix: str = "mp4"
    said: str = ""
    everyday: bool = False

    @property
    def lasts(self) -> float:
        return max(self.picture_late + self.picture, self.sound_late + self.sound)

    def make(self, folder: Path) -> Path:
        """A picture that turns white, and a tone that begins at the same moment."""
        path = folder / f"{self.name}.{self.suffix}"
        at = self.event
        white = f"drawbox=x=0:y=0:w=iw:h=ih:c=white:t=fill:enable='gte(t,{at - self.picture_late})'"
        shown = f"color=c=black:s=320x180:r={RATE}:d={self.picture},{white},noise=alls=12:allf=t"
        tone = f"aevalsrc='0.4*sin(880*PI*t)*gte(t,{at - self.sound_late})':s=48000:d={self.sound}"
        inputs = ["-itsoffset", self.picture_late, "-f", "lavfi", "-i", shown]
        inputs += ["-itsoffset", self.sound_late, "-f", "lavfi", "-i", tone]
        ffmpeg(*map(str, inputs), *H264, *AAC, path)
        return path

    @property
    def event(self) -> float:
        """Seconds: while there is picture and sound."""
        begin = max(self.picture_late, self.sound_late)
        end = min(self.picture_late + self.picture, self.sound_late + self.sound)
        return (begin + end) / 2


FILLED, SILENT = "the picture ends before the sound and is filled up", "sound ends before the picture, silence follows"
CASES = [
    Uneven("webinar-tail", 3, 8, said=FILLED, everyday=True),
    Uneven("webinar-tail", 3, 8, suffix="mkv", said=FILLED),
    Uneven("webinar-tail", 3, 8, suffix="ts", said=FILLED),
    Uneven("sound-stops", 8, 3, said=SILENT, everyday=True),
    Uneven("sound-stops", 8, 3, suffix="mkv", said=SILENT),
    Uneven("sound-stops", 8, 3, suffix="ts", said=SILENT),
    Uneven("sound-late", 6, 4, sound_late=2),
    Uneven("picture-late", 4, 6, picture_late=2),
    Uneven("apart", 3, 3, sound_late=1.5, said=FILLED),
    Uneven("around", 2, 8, picture_late=3, said=FILLED),
]


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=f"{case.name}-{case.suffix}", marks=() if case.everyday else pytest.mark.matrix)
        for case in CASES
    ],
)
async def test_all_lasts_as_long_as_the_longest(case: Uneven, studio: Studio, tmp_path: Path) -> None:
    for asset in await on_both(studio, case.make(tmp_path)):
        await judge(case, asset, studio)


async def judge(case: Uneven, asset: Asset, studio: Studio) -> None:
    assert asset.duration_ms is not None
    assert asset.duration_ms / 1000 == pytest.approx(case.lasts, abs=EXACT)
    told = " ".join(entry.detail for entry in await studio.assets.timeline(asset.asset_id))
    assert (case.said in told) if case.said else (FILLED not in told and SILENT not in told)
    folder = await studio.fetch(asset)
    variant = folder / "hls/master_180p.m3u8"
    listed = sum(segment.duration for segment in parse_media(variant.read_text()).segments)
    assert listed == pytest.approx(case.lasts, abs=EXACT)
    for path in (folder / "video.mp4", variant):
        for streams in ("v", "a"):
            assert length(path, streams) == pytest.approx(case.lasts, abs=EXACT), (path, streams)
        found = await play(path, RATE, studio.folder, sound=True)
        assert found.white == pytest.approx(case.event, abs=0.1)
        assert abs(found.offset) <= IN_SYNC


def length(path: Path, streams: str) -> float:
    """Seconds from zero to the end of the last packet."""
    packets = look(path, "packet=pts_time,duration_time", streams).split()
    times = [float(time) for time in packets[::2]]
    begin = 0.0 if path.suffix == ".mp4" else min(float(start) for start in look(path, "format=start_time").split())
    return max(times) + float(packets[1]) - begin
