"""Sixty recordings of all kinds of recorders: whole, and in time at their start, middle and end, on both engines."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser

from handlers.transcode.planning.ladder import APART
from handlers.transcode.planning.plan import SLOW
from media.asset import Asset, Status
from tests.acceptance.browser.conftest import started_chromium
from tests.integration.transcode.engine_harness import Harness
from tests.integration.transcode.playback import IN_SYNC
from tests.integration.transcode.recordings.catalog import RECORDINGS
from tests.integration.transcode.recordings.players import play_in_browser
from tests.integration.transcode.recordings.recording import Recording
from tests.integration.transcode.recordings.timing import Played, measure_source, play

ENGINES = ("ffmpeg", "mediaconvert")
EVERYDAY = {
    ("ffmpeg", "zoom-slides-still"),
    ("ffmpeg", "android-3gp-amr"),
    ("mediaconvert", "mediarecorder-vp8"),
    ("mediaconvert", "iphone-portrait"),
}
"""What the default run makes. That both engines make the same of each kind of source is held by test_matrix.py."""
PARAMS = [
    pytest.param(one, engine, id=f"{engine}-{one}", marks=() if (engine, str(one)) in EVERYDAY else pytest.mark.soak)
    for engine in ENGINES
    for one in RECORDINGS
]
AAC_PACKET = 1024 / 48_000
"""Seconds of the last packet, which is always whole."""
EVENTS = 3
PLACED = 0.06
"""Seconds by which an event may lie elsewhere than in the source: a frame of a slow film, and a little."""


PLAYED = "bigbluebutton-deskshare"
"""The one that players play in the default run: five frames a second."""
LATEST = 2 / SLOW
"""Seconds after which a player shows the first picture."""
AFTER = 0.25
"""Seconds after a flash began at which the picture is looked at, and before it."""
WHITE = 150


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with started_chromium() as started:
        yield started


@pytest.mark.parametrize(("recording", "engine"), PARAMS)
async def test_recording_is_whole_and_in_sync(
    recording: Recording, engine: str, harness: Harness, tmp_path: Path
) -> None:
    source = recording.make(tmp_path)
    made = await transcode(harness, source, engine)
    assert not made.notes, made.notes
    begins, sound_end = await measure_source(source)
    lasts = max(recording.picture_end or recording.seconds, sound_end)
    folder = await harness.fetch_outputs(made)
    for path in [folder / "video.mp4", *sorted((folder / "hls").glob("master_*p.m3u8"))]:
        played = await play(path, tmp_path, quarter_turns=recording.quarter_turns)
        assert abs(played.lasts - lasts) <= played.frame + AAC_PACKET, (path.name, played.lasts, lasts)
        assert made.duration_ms is not None
        assert abs(made.duration_ms / 1000 - lasts) <= (played.frame + AAC_PACKET if engine == "ffmpeg" else APART)
        check_events(played, path.name)
        # A track of sound may begin with a packet of silence before all others.
        late = begins - recording.picture_late
        places = [abs(found - real - late) for found, real in zip(played.flashes, recording.events, strict=True)]
        assert max(places) <= PLACED, (path.name, played.flashes, recording.events)


@pytest.mark.parametrize("player", ["hls.js", "shaka"])
@pytest.mark.parametrize(
    "recording",
    [pytest.param(one, id=str(one), marks=() if str(one) == PLAYED else pytest.mark.soak) for one in RECORDINGS],
)
async def test_player_plays_recording_from_its_start_and_after_a_seek(
    recording: Recording, player: str, harness: Harness, browser: Browser, tmp_path: Path
) -> None:
    source = recording.make(tmp_path)
    made = await transcode(harness, source, "ffmpeg" if player == "hls.js" else "mediaconvert")
    hls = await harness.fetch_outputs(made) / "hls"
    begin, middle, end = recording.events
    looks = [time + by for time in (begin, end) for by in (-AFTER, AFTER)]
    run = await play_in_browser(browser, player, hls, tmp_path, seeks=[middle, end], looks=looks)
    assert all(reached >= begin + 0.4 for begin, reached in run.moved), run.moved
    if not recording.quarter_turns:
        assert [one > WHITE for one in run.brightness] == [False, True] * 2, run.brightness
        check_events(run.decoded, player)
    _, sound_end = await measure_source(source)
    lasts = max(recording.picture_end or recording.seconds, sound_end)
    begins, ends = [track.begin for track in run.decoded.tracks], [track.end for track in run.decoded.tracks]
    assert min(begins) <= LATEST, begins
    # hls.js fills the time until the first picture with silence.
    began = max(begins) if max(begins) <= LATEST else min(begins)
    assert abs(max(ends) - began - lasts) <= run.decoded.frame + AAC_PACKET, (run.decoded.tracks, lasts)
    assert abs(run.duration - max(ends)) <= AAC_PACKET, (run.duration, ends)


async def transcode(harness: Harness, source: Path, engine: str) -> Asset:
    asset = await harness.add_asset(source)
    made = await (
        harness.transcode_with_ffmpeg(asset) if engine == "ffmpeg" else harness.transcode_with_mediaconvert(asset)
    )
    assert made.status is Status.READY, (made.code, made.detail)
    return made


def check_events(played: Played, name: str) -> None:
    """See that each flash is shown when its beep is heard."""
    assert len(played.flashes) == len(played.beeps) == EVENTS, (name, played.flashes, played.beeps)
    assert all(abs(one) <= IN_SYNC for one in played.offsets), (name, played.offsets)
