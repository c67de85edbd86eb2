"""The poster shows something, where there is something; and players begin with what was measured near to 2 Mbit/s."""

from pathlib import Path

import pytest

from handlers.transcode.hls_check.playlist import parse_master
from handlers.transcode.packaging.poster import UNREADABLE, measure_frame
from handlers.transcode.planning.names import FIRST_VARIANT
from tests.integration.transcode.cases import H264
from tests.integration.transcode.studio import Studio
from tests.integration.transcode.test_odd_sources import ffmpeg, on_both, poster_of

FILM = "testsrc2=s=320x180:r=10"
LEAD = "color=black:s=320x180:r=10"


@pytest.mark.parametrize(
    ("picture", "number"),
    [
        pytest.param(f"{FILM}:d=8,fade=in:st=1.2:d=1", 2, id="fades-in"),
        pytest.param(f"{LEAD}:d=40[a];{FILM}:d=20[b];[a][b]concat", 7, id="two-thirds-black"),
        pytest.param(f"{LEAD.replace('black', 'white')}:d=5[a];{FILM}:d=5[b];[a][b]concat", 5, id="white"),
        pytest.param(f"{LEAD.replace('black', 'teal')}:d=5[a];{FILM}:d=5[b];[a][b]concat", 5, id="one-colour"),
        pytest.param(f"{FILM}:d=0.1[a];{LEAD}:d=6[b];[a][b]concat", 0, id="only-the-first"),
        pytest.param(f"{FILM}:d=8", 1, id="at-once"),
    ],
)
async def test_the_poster_shows_something(picture: str, number: int, studio: Studio, tmp_path: Path) -> None:
    source = tmp_path / "film.mp4"
    ffmpeg("-f", "lavfi", "-i", picture, *H264, source)
    for asset in await on_both(studio, source):
        folder = await studio.fetch(asset)
        assert poster_of(asset) == f"poster.{number:07}.jpg"
        assert [path.name for path in folder.glob("*.jpg")] == [poster_of(asset)], "the others are gone"
        assert (await measure_frame((folder / poster_of(asset)).read_bytes())).has_content
        assert "dull_poster" not in await studio.told(asset)


async def test_a_film_without_a_picture_has_a_poster_and_a_note(studio: Studio, tmp_path: Path) -> None:
    source = tmp_path / "black.mp4"
    ffmpeg("-f", "lavfi", "-i", f"{LEAD}:d=4", *H264, source)
    for asset in await on_both(studio, source):
        assert poster_of(asset) == "poster.0000001.jpg"
        assert "dull_poster" in await studio.told(asset)
        assert [key for key in await studio.keys(asset) if key.endswith(".jpg")] == [poster_of(asset)]


async def test_what_is_no_picture_shows_nothing() -> None:
    assert await measure_frame(b"") == await measure_frame(b"\xff\xd8\xff" + bytes(100)) == UNREADABLE


async def test_the_variant_measured_nearest_to_2_mbit_comes_first(studio: Studio, tmp_path: Path) -> None:
    """What a rung may have says little: a still or a simple film has a fraction of it."""
    source = tmp_path / "simple.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=960x540:r=25:d=3", *H264, source)
    for asset in await on_both(studio, source):
        variants = parse_master((await studio.fetch(asset) / "hls/master.m3u8").read_text()).variants
        rates = [variant.bandwidth or 0 for variant in variants]
        assert rates[0] == min(rates, key=lambda rate: abs(rate - FIRST_VARIANT))
        assert rates[1:] == sorted(rates[1:])
        assert variants[0].resolution == "960x540", "by what is allowed, it would be 640x360"
