"""Sources that lack their end: taken as far as they go, and told so."""

import re
from pathlib import Path

import pytest

from handlers.transcode.probing.prober import Prober
from media.asset import AssetType
from media.errors import Code
from tests.unit.handlers.transcode.conftest import Clip, rejected

SINE = "sine=d=1"


@pytest.mark.parametrize(("share", "least"), [(0.6, 2), (0.98, 7)])
async def test_cut_short_source_is_taken_as_far_as_it_goes(
    prober: Prober, clip: Clip, tmp_path: Path, share: float, least: float
) -> None:
    whole = clip("whole.mp4", "testsrc2=s=64x48:r=25:d=8", "", "-movflags", "faststart").read_bytes()
    part = tmp_path / "part.mp4"
    part.write_bytes(whole[: int(len(whole) * share)])
    probed = await prober.probe(str(part), asset_type=AssetType.VIDEO)
    assert probed.cut_short
    assert least < probed.duration < 8
    assert probed.duration + probed.lacking == pytest.approx(8, abs=0.1)


async def test_source_that_ends_in_its_header_is_rejected(prober: Prober, clip: Clip, tmp_path: Path) -> None:
    whole = clip("whole.mp4", "testsrc2=s=64x48:r=25:d=8", "", "-movflags", "faststart").read_bytes()
    part = tmp_path / "part.mp4"
    part.write_bytes(whole[: len(whole) // 10])
    assert (await rejected(prober, part)).code is Code.CORRUPT


async def test_matroska_cut_between_clusters_is_taken_and_what_is_lacking_is_told(
    prober: Prober, clip: Clip, tmp_path: Path
) -> None:
    whole = clip("whole.mkv", "testsrc2=s=64x48:r=25:d=10", "", "-g", "25", "-cluster_time_limit", "1000").read_bytes()
    part = tmp_path / "part.mkv"
    part.write_bytes(whole[: whole.index(b"\x1f\x43\xb6\x75", len(whole) // 2)])
    probed = await prober.probe(str(part), asset_type=AssetType.VIDEO)
    assert probed.cut_short
    assert 3 < probed.duration < 8
    assert probed.duration + probed.lacking == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize("name", ["part.flac", "part.aiff"])
async def test_sound_that_lacks_more_than_a_second_is_cut_short(
    name: str, prober: Prober, clip: Clip, tmp_path: Path
) -> None:
    whole = clip(name, "", "anoisesrc=d=9:r=16000").read_bytes()
    part = tmp_path / name
    part.write_bytes(whole[: len(whole) * 8 // 10])
    probed = await prober.probe(str(part), asset_type=AssetType.AUDIO)
    assert probed.cut_short
    assert probed.duration + probed.lacking == pytest.approx(9, abs=0.3)


async def test_avi_that_lacks_its_end_is_cut_short(prober: Prober, clip: Clip, tmp_path: Path) -> None:
    """Without the index at its end, ffprobe guesses the length by what is there. The count of frames is right."""
    whole = clip("whole.avi", "testsrc2=s=64x48:r=25:d=8", "sine=d=8", "-c:v", "mjpeg").read_bytes()
    part = tmp_path / "part.avi"
    part.write_bytes(whole[: len(whole) // 2])
    probed = await prober.probe(str(part), asset_type=AssetType.VIDEO)
    assert probed.cut_short
    assert probed.duration + probed.lacking == pytest.approx(8, abs=0.1)


async def test_mp4_without_a_whole_index_is_rejected_with_advice(prober: Prober, clip: Clip, tmp_path: Path) -> None:
    whole = clip("index-last.mp4").read_bytes()
    content, index = whole.rindex(b"mdat") - 4, whole.rindex(b"moov") - 4
    cases = {
        "stopped before the index": whole[:index],
        "length of the content never written": whole[:content] + bytes(4) + whole[content + 4 : index],
        "copy ends within the index": whole[: (index + len(whole)) // 2],
        "copy ends as the index begins": whole[: index + 20],
    }
    for name, data in cases.items():
        part = tmp_path / "part.mp4"
        part.write_bytes(data)
        error = await rejected(prober, part)
        assert error.code is Code.CORRUPT, name
        assert re.search(r"moov.* copy it again .* repair program", error.detail), name
