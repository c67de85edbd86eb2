"""Whatever the source, it ends as ready on both engines, with HLS that conforms, or is rejected with the right code."""

from pathlib import Path

import pytest

from media.errors import RejectedError
from tests.integration.transcode.strange import STRANGE, Strange
from tests.integration.transcode.studio import Studio
from tests.integration.transcode.test_odd_sources import on_both

PARAMS = [
    pytest.param(one, id=one.name, marks=() if one.everyday else (pytest.mark.matrix, pytest.mark.timeout(300)))
    for one in STRANGE
]


@pytest.mark.parametrize("strange", PARAMS)
async def test_it_is_shown_or_refused_for_the_right_reason(strange: Strange, studio: Studio, tmp_path: Path) -> None:
    source = tmp_path / f"{strange.name}.{strange.suffix}"
    strange.make(source)
    if strange.code is None:
        ours, theirs = await on_both(studio, source)
        assert ours.duration_ms is not None
        assert theirs.duration_ms is not None
        assert abs(ours.duration_ms - theirs.duration_ms) < 500, (ours.duration_ms, theirs.duration_ms)
        return
    for engine in (studio.ffmpeg_engine(), studio.mediaconvert_engine()):
        with pytest.raises(RejectedError) as caught:
            await studio.transcode(await studio.asset(source), engine)
        assert caught.value.code is strange.code, caught.value.detail


async def test_a_track_without_sound_is_told_and_not_declared(studio: Studio, tmp_path: Path) -> None:
    source = tmp_path / "silent.mp4"
    next(one for one in STRANGE if one.name == "a-track-of-nothing").make(source)
    for asset in await on_both(studio, source):
        assert "no_sound" in await studio.told(asset)
        [master] = (await studio.fetch(asset)).rglob("master.m3u8")
        assert "mp4a" not in master.read_text()
