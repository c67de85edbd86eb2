"""Every kind of source on both engines: the same renditions, whole, in sync, and conforming."""

import json
from pathlib import Path

import pytest

from media.asset import Asset, Rendition, Status
from tests.integration.transcode.engine_harness import Harness, report_of
from tests.integration.transcode.playback import IN_SYNC, Playback, play, within_a_frame
from tests.integration.transcode.source_clips import CLIPS, Clip

RARE = (pytest.mark.matrix, pytest.mark.timeout(600))
PARAMS = [pytest.param(case, id=case.name, marks=() if case.everyday else RARE) for case in CLIPS]


@pytest.mark.parametrize("case", PARAMS)
async def test_both_engines_make_the_same_outputs(case: Clip, harness: Harness, tmp_path: Path) -> None:
    source = case.make(tmp_path)
    original = await play(source, case.fps, tmp_path, sound=case.channels > 0, trusted=False)
    ours = await harness.transcode_with_ffmpeg(await harness.add_asset(source))
    theirs = await harness.transcode_with_mediaconvert(await harness.add_asset(source))
    for asset in (ours, theirs):
        await check_asset(case, original, asset, harness)
    assert parity(ours) == parity(theirs)
    assert await harness.output_keys(ours) == await harness.output_keys(theirs)
    assert await harness.timeline_codes(ours) == await harness.timeline_codes(theirs)
    for mine, other in zip(in_order(ours), in_order(theirs), strict=True):
        if mine.duration_ms and other.duration_ms:
            assert within_a_frame(mine.duration_ms / 1000, other.duration_ms / 1000, case.fps / case.gap), (mine, other)


async def check_asset(case: Clip, original: Playback, asset: Asset, harness: Harness) -> None:
    assert asset.status is Status.READY, (asset.code, asset.detail)
    largest = next(r for r in asset.renditions if r.name == "mp4")
    assert (largest.width, largest.height) == (case.width, case.height)
    folder = await harness.fetch_outputs(asset)
    report = await report_of(folder)
    assert report.clean, str(report)
    assert json.loads((folder / "report.json").read_text())["clean"] is True
    variants = [folder / "hls" / one.uri for one in report.variants]
    for path in [folder / "video.mp4", *variants]:
        played = await play(path, case.fps, harness.folder, sound=case.channels > 0)
        # The last picture is shown until the sound ends: for as many frames as lie between two of the source.
        assert within_a_frame(played.duration, original.duration, case.fps / case.gap), (path.name, played)
        assert abs(played.offset - original.offset) <= IN_SYNC, (path.name, played, original)


def in_order(asset: Asset) -> list[Rendition]:
    return sorted(asset.renditions, key=lambda one: one.name)


def parity(asset: Asset) -> list[tuple[str, str, int | None, int | None]]:
    return [(one.name, one.content_type, one.width, one.height) for one in in_order(asset)]
