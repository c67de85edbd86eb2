"""Recordings that were cut or damaged play with a note, or are rejected with a reason. Nothing is lost in silence."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import structlog

from media.asset import Asset, Status
from media.errors import Code, RejectedError, RetryableError
from tests.integration.transcode.engine_harness import Harness
from tests.integration.transcode.recordings.catalog import RECORDINGS
from tests.integration.transcode.recordings.recording import Recording
from tests.integration.transcode.recordings.timing import Played, play

log = structlog.get_logger(__name__)
PLACES = 5
"""Places at which each recording is cut, and times that it is damaged at ten places."""
DAMAGES, MOST_BYTES = 10, 64
"""Places of one damaged recording, and bytes at each at most."""
NOTICED = 1.0
"""Seconds that may be lost without a word."""
EVERY = 3
"""Every third of the sixty is cut and damaged: 20 recordings, 200 files."""
REASONS = {Code.CORRUPT, Code.UNSUPPORTED, Code.NO_VIDEO, Code.UNSUPPORTED_CODEC}
TOLD = {"cut_short", "damaged"}
"""Notes that tell users of what is not there."""


@dataclass(frozen=True)
class Broken:
    """What became of one broken file."""

    name: str
    verdict: str


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) // 50, len(data))]


def damaged(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(DAMAGES):
        at, count = chance.randrange(len(data)), chance.randrange(1, MOST_BYTES)
        changed[at : at + count] = chance.randbytes(min(count, len(data) - at))
    return bytes(changed)


BREAKS = {"cut": cut, "damaged": damaged}


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", BREAKS)
@pytest.mark.parametrize("recording", RECORDINGS[::EVERY], ids=str)
async def test_broken_recording_plays_with_a_note_or_is_rejected(
    recording: Recording, kind: str, harness: Harness, tmp_path: Path
) -> None:
    data = recording.make(tmp_path).read_bytes()
    found = []
    for number in range(PLACES):
        chance = random.Random(f"{recording} {kind} {number}")  # noqa: S311 - the same damage each time
        path = tmp_path / f"broken-{number}.{recording.suffix}"
        path.write_bytes(BREAKS[kind](data, chance))
        engine = ("ffmpeg", "mediaconvert")[number % 2]
        found.append(Broken(f"{path.name} {engine}", await judge(harness, recording, path, engine)))
    wrong = [one for one in found if not one.verdict.startswith(("ready", "rejected"))]
    log.info("test.broken", recording=str(recording), kind=kind, verdicts=[one.verdict for one in found])
    assert not wrong, wrong


async def judge(harness: Harness, recording: Recording, path: Path, engine: str) -> str:
    """Return "ready" or "rejected" with details, else what is wrong."""
    asset = await harness.add_asset(path)
    try:
        if engine == "ffmpeg":
            asset = await harness.transcode_with_ffmpeg(asset)
        else:
            asset = await harness.transcode_with_mediaconvert(asset)
    except RejectedError as error:
        return f"rejected: {error.code}" if error.code in REASONS else f"odd reason: {error.code}: {error.detail}"
    except RetryableError as error:
        return f"failed: {error.code}: {error.detail}"
    if asset.status is Status.REJECTED:
        return f"rejected: {asset.code}" if asset.code in REASONS else f"odd reason: {asset.code}: {asset.detail}"
    if asset.status is not Status.READY:
        last = (await harness.assets.timeline(asset.asset_id))[-1]
        return f"failed: {asset.status}: {last.code} {last.detail}"
    played = await play(
        await harness.fetch_outputs(asset) / "video.mp4", harness.folder, quarter_turns=recording.quarter_turns
    )
    lost = lost_seconds(recording, asset, played)
    notes = {note.code for note in asset.notes}
    if lost > NOTICED and not notes & TOLD:
        return f"silent loss of {lost:.1f} s"
    return f"ready: {lost:.1f} s lost, {sorted(notes)}"


def lost_seconds(recording: Recording, asset: Asset, played: Played) -> float:
    """Return the seconds that are missing at the end, or that the picture stands still or the sound is silent."""
    at_end = recording.lasts - (asset.duration_ms or 0) / 1000
    end = recording.sound_end or recording.seconds
    silent = [min(until, end) - max(begin, recording.sound_late) for begin, until in played.silences]
    return max(at_end, *silent, 0.0, still(recording, played.shown))


def still(recording: Recording, shown: Sequence[tuple[float, float]]) -> float:
    """Return the longest time without a change of the bars, where the recording's own picture never stands still."""
    if recording.keep:
        return 0.0
    begin, end = recording.picture_late, recording.picture_end or recording.seconds
    changes = [time for (_, before), (time, after) in pairwise(shown) if after != before and begin <= time <= end]
    return max((after - before for before, after in pairwise([begin, *changes, end])), default=end - begin)
