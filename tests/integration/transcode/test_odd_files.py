"""Every source becomes ready on both engines, with HLS that conforms, or is rejected with the right code."""

from pathlib import Path

import pytest

from media.errors import RejectedError
from tests.integration.transcode.engine_harness import Harness, transcode_with_both
from tests.integration.transcode.odd_files import ODD_FILES, OddFile

PARAMS = [
    pytest.param(one, id=one.name, marks=() if one.everyday else (pytest.mark.matrix, pytest.mark.timeout(300)))
    for one in ODD_FILES
]


@pytest.mark.parametrize("odd_file", PARAMS)
async def test_source_becomes_ready_or_is_rejected_with_its_code(
    odd_file: OddFile, harness: Harness, tmp_path: Path
) -> None:
    source = tmp_path / f"{odd_file.name}.{odd_file.suffix}"
    odd_file.make(source)
    if odd_file.code is None:
        ours, theirs = await transcode_with_both(harness, source)
        assert ours.duration_ms is not None
        assert theirs.duration_ms is not None
        assert abs(ours.duration_ms - theirs.duration_ms) < 500, (ours.duration_ms, theirs.duration_ms)
        return
    for engine in (harness.ffmpeg_engine(), harness.mediaconvert_engine()):
        with pytest.raises(RejectedError) as caught:
            await harness.transcode(await harness.add_asset(source), engine)
        assert caught.value.code is odd_file.code, caught.value.detail


async def test_empty_audio_track_is_noted_and_not_declared(harness: Harness, tmp_path: Path) -> None:
    source = tmp_path / "silent.mp4"
    next(one for one in ODD_FILES if one.name == "a-track-of-nothing").make(source)
    for asset in await transcode_with_both(harness, source):
        assert "no_sound" in await harness.timeline_codes(asset)
        [master] = (await harness.fetch_outputs(asset)).rglob("master.m3u8")
        assert "mp4a" not in master.read_text()
