"""Any bytes lead to a plan or a rejection with its code, and leave no files behind."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers.transcode.planning.ladder import plan
from handlers.transcode.planning.plan import Plan
from handlers.transcode.probing.prober import Prober
from media.asset import AssetType
from media.errors import RejectedError
from tests.unit.handlers.transcode.conftest import Clip

SOUND = "sine=d=1"
PICTURE = "testsrc2=s=64x48:r=25:d=1"
HEADS = 3000
"""Bytes at either end of a file where its structure is described."""


@pytest.fixture(scope="session")
def seeds(clip: Clip) -> list[bytes]:
    """One small clip of each container."""
    made = [
        clip("seed.mp4", PICTURE, SOUND),
        clip("seed-fragments.mp4", PICTURE, SOUND, "-movflags", "frag_keyframe+empty_moov"),
        clip("seed.webm", PICTURE, SOUND, "-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus"),
        clip("seed.avi", PICTURE, SOUND, "-c:v", "mpeg4", "-c:a", "libmp3lame"),
        clip("seed.ts", PICTURE, SOUND),
        clip("seed.m4a", "", SOUND),
        clip("seed.mp3", "", SOUND, "-c:a", "libmp3lame"),
        clip("seed.ogg", "", SOUND, "-c:a", "libvorbis"),
    ]
    return [path.read_bytes() for path in made]


@st.composite
def damage(draw: st.DrawFn) -> tuple[int, list[tuple[float, int]], float, bytes]:
    """Draw a seed, bytes to change (by their place in the structure), the share to keep, and bytes to append."""
    changes = draw(st.lists(st.tuples(st.floats(-1, 1), st.integers(0, 255)), max_size=12))
    kept = draw(st.one_of(st.just(1.0), st.floats(0, 1)))
    return draw(st.integers(0, 7)), changes, kept, draw(st.binary(max_size=40))


def damaged(seeds: list[bytes], number: int, changes: list[tuple[float, int]], kept: float, tail: bytes) -> bytes:
    data = bytearray(seeds[number])
    for place, value in changes:
        at = int(place * min(HEADS, len(data) - 1))  # below 0: from the end, where MP4's index lies
        data[at] = value
    return bytes(data[: int(kept * len(data))]) + tail


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    hurt=st.one_of(damage(), st.binary(max_size=300)),
    asset_type=st.sampled_from([AssetType.VIDEO, AssetType.AUDIO]),
)
async def test_any_bytes_lead_to_a_plan_or_a_rejection(
    hurt: tuple[int, list[tuple[float, int]], float, bytes] | bytes,
    asset_type: AssetType,
    seeds: list[bytes],
    prober: Prober,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    source = tmp_path / "source"
    source.write_bytes(hurt if isinstance(hurt, bytes) else damaged(seeds, *hurt))
    ended = await ended_as(prober, source, asset_type)
    if isinstance(ended, Plan):
        assert ended.duration_ms > 0
        assert bool(ended.rungs) is (asset_type is AssetType.VIDEO)
    else:
        assert str(tmp_path) not in ended.detail
    assert not list(scratch.iterdir())


async def ended_as(prober: Prober, source: Path, asset_type: AssetType) -> Plan | RejectedError:
    try:
        return plan(await prober.probe(str(source), asset_type=asset_type), asset_type)
    except RejectedError as error:
        return error
