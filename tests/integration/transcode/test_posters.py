"""The poster shows content if there is any, and players begin with the variant nearest to 2 Mbit/s."""

from pathlib import Path

import pytest

from handlers.transcode.hls_check.playlist import parse_master
from handlers.transcode.packaging.poster import UNREADABLE, measure_frame
from handlers.transcode.planning.names import FIRST_VARIANT
from tests.integration.transcode.engine_harness import Harness, poster_name, transcode_with_both
from tests.integration.transcode.source_clips import H264, run_ffmpeg

FILM = "testsrc2=s=320x180:r=10"
LEAD = "color=black:s=320x180:r=10"


@pytest.mark.parametrize(
    ("picture", "number"),
    [
        pytest.param(f"{FILM}:d=8,fade=in:st=1.2:d=1", 2, id="fades-in"),
        pytest.param(f"{LEAD}:d=8[a];{FILM}:d=4[b];[a][b]concat", 7, id="two-thirds-black"),
        pytest.param(
            f"{LEAD.replace('black', 'white')}:d=5[a];{FILM}:d=5[b];[a][b]concat",
            5,
            id="white",
            marks=pytest.mark.matrix,  # as another color is
        ),
        pytest.param(f"{LEAD.replace('black', 'teal')}:d=5[a];{FILM}:d=5[b];[a][b]concat", 5, id="one-color"),
        pytest.param(f"{FILM}:d=0.1[a];{LEAD}:d=6[b];[a][b]concat", 0, id="only-the-first"),
        pytest.param(f"{FILM}:d=8", 1, id="at-once"),
    ],
)
async def test_poster_shows_content(picture: str, number: int, harness: Harness, tmp_path: Path) -> None:
    source = tmp_path / "film.mp4"
    run_ffmpeg("-f", "lavfi", "-i", picture, *H264, source)
    for asset in await transcode_with_both(harness, source):
        folder = await harness.fetch_outputs(asset)
        assert poster_name(asset) == f"poster.{number:07}.jpg"
        assert [path.name for path in folder.glob("*.jpg")] == [poster_name(asset)], "the others are gone"
        assert (await measure_frame((folder / poster_name(asset)).read_bytes())).has_content
        assert "dull_poster" not in await harness.timeline_codes(asset)


async def test_blank_video_has_a_poster_and_a_note(harness: Harness, tmp_path: Path) -> None:
    source = tmp_path / "black.mp4"
    run_ffmpeg("-f", "lavfi", "-i", f"{LEAD}:d=4", *H264, source)
    for asset in await transcode_with_both(harness, source):
        assert poster_name(asset) == "poster.0000001.jpg"
        assert "dull_poster" in await harness.timeline_codes(asset)
        assert [key for key in await harness.output_keys(asset) if key.endswith(".jpg")] == [poster_name(asset)]


async def test_file_that_is_no_picture_is_unreadable() -> None:
    assert await measure_frame(b"") == await measure_frame(b"\xff\xd8\xff" + bytes(100)) == UNREADABLE


async def test_the_variant_measured_nearest_to_2_mbit_comes_first(harness: Harness, tmp_path: Path) -> None:
    """A rung's maximum says little: a still or a simple video has a fraction of it."""
    source = tmp_path / "simple.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=960x540:r=25:d=3", *H264, source)
    for asset in await transcode_with_both(harness, source):
        variants = parse_master((await harness.fetch_outputs(asset) / "hls/master.m3u8").read_text()).variants
        rates = [variant.bandwidth or 0 for variant in variants]
        assert rates[0] == min(rates, key=lambda rate: abs(rate - FIRST_VARIANT))
        assert rates[1:] == sorted(rates[1:])
        assert variants[0].resolution == "960x540", "by the maximum it would be 640x360"
