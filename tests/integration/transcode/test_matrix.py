"""Every kind of source, through both engines: the same renditions, whole, in sync, and conforming."""

import json
from pathlib import Path

import pytest

from media.asset import Asset, Rendition, Status
from tests.integration.transcode.cases import CASES, Case
from tests.integration.transcode.judge import Played, play, within_a_frame
from tests.integration.transcode.studio import Studio, report_of

IN_SYNC = 0.04
"""Seconds."""

RARE = (pytest.mark.matrix, pytest.mark.timeout(600))
PARAMS = [pytest.param(case, id=case.name, marks=() if case.everyday else RARE) for case in CASES]


@pytest.mark.parametrize("case", PARAMS)
async def test_both_engines_make_the_same_of(case: Case, studio: Studio, tmp_path: Path) -> None:
    source = case.make(tmp_path)
    original = await play(source, case.fps, tmp_path, sound=case.channels > 0, trusted=False)
    ours = await studio.by_ffmpeg(await studio.asset(source))
    theirs = await studio.by_mediaconvert(await studio.asset(source))
    for asset in (ours, theirs):
        await judge(case, original, asset, studio)
    assert parity(ours) == parity(theirs)
    assert await studio.keys(ours) == await studio.keys(theirs)
    assert await studio.told(ours) == await studio.told(theirs)
    for mine, other in zip(in_order(ours), in_order(theirs), strict=True):
        if mine.duration_ms and other.duration_ms:
            assert within_a_frame(mine.duration_ms / 1000, other.duration_ms / 1000, case.fps / case.gap), (mine, other)


async def judge(case: Case, original: Played, asset: Asset, studio: Studio) -> None:
    assert asset.status is Status.READY, (asset.code, asset.detail)
    largest = next(r for r in asset.renditions if r.name == "mp4")
    assert (largest.width, largest.height) == (case.width, case.height)
    folder = await studio.fetch(asset)
    report = await report_of(folder)
    assert report.clean, str(report)
    assert json.loads((folder / "report.json").read_text())["clean"] is True
    variants = [folder / "hls" / one.uri for one in report.variants]
    for path in [folder / "video.mp4", *variants]:
        played = await play(path, case.fps, studio.folder, sound=case.channels > 0)
        assert within_a_frame(played.duration, original.duration, case.fps), (path.name, played)
        assert abs(played.offset - original.offset) <= IN_SYNC, (path.name, played, original)


def in_order(asset: Asset) -> list[Rendition]:
    return sorted(asset.renditions, key=lambda one: one.name)


def parity(asset: Asset) -> list[tuple[str, str, int | None, int | None]]:
    return [(one.name, one.content_type, one.width, one.height) for one in in_order(asset)]
