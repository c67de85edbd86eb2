"""The engine that works here: what it makes, what it reads, and what is left when it is stopped."""

from pathlib import Path

from media.asset import AssetType, Status
from tests.integration.transcode.clips import make, picture, sound
from tests.integration.transcode.studio import Studio, report_of


async def test_a_film_becomes_everything_that_was_planned(studio: Studio, tmp_path: Path) -> None:
    asset = await studio.by_ffmpeg(await studio.asset(make(tmp_path / "film.mp4", *picture("640x360", 8), *sound(8))))
    assert asset.status is Status.READY
    assert asset.progress == 100
    assert {r.name for r in asset.renditions} == {"hls", "mp4", "poster"}
    print(await studio.keys(asset))
    folder = await studio.fetch(asset)
    print((folder / "hls/master.m3u8").read_text(), (folder / "report.json").read_text())
    report = await report_of(folder)
    assert report.clean, str(report)
    assert await studio.told(asset) == [
        "created",
        "uploaded",
        "planned",
        "submitted",
        "rendered",
        "conformance",
        "ready",
    ]
