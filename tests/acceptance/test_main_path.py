"""The main path: a file is uploaded, processed, and its renditions are readable."""

from pathlib import Path

from PIL import Image

from tests.acceptance.conftest import Process, ffprobe, jpeg

WIDTHS = {"w150": 150, "w320": 320, "w640": 640, "w1024": 1024, "w1920": 1920}


async def test_a_photo_and_a_clip_become_ready(process: Process, photo: Path, clip: Path, tmp_path: Path) -> None:
    outcome = await process("--json", "--out", tmp_path, photo, clip)
    assert outcome.status == 0, outcome.stderr
    picture, video = outcome.files
    assert (picture.status, video.status) == ("ready", "ready"), outcome.stdout
    assert (picture.file, picture.asset_type, picture.width, picture.height) == (photo, "image", 2400, 1600)
    assert {one.name for one in picture.renditions} == set(WIDTHS)
    for one in picture.renditions:
        assert one.path == tmp_path / str(picture.asset_id) / f"{one.name}.webp"
        assert one.path.stat().st_size == one.bytes
        with Image.open(one.path, formats=["WEBP"]) as opened:
            assert opened.size == (one.width, one.height) == (WIDTHS[one.name], round(WIDTHS[one.name] * 2 / 3))
    assert video.asset_type == "video"
    assert {"hls", "mp4", "poster"} <= {one.name for one in video.renditions}
    assert abs((video.duration_ms or 0) - 4000) < 200


async def test_the_clips_renditions_are_read_by_ffprobe(process: Process, clip: Path, tmp_path: Path) -> None:
    outcome = await process("--json", "--out", tmp_path, clip)
    (video,) = outcome.files
    for name in ("hls", "mp4"):
        path = video.rendition(name).path
        assert path is not None
        found = await ffprobe(path)
        assert {stream["codec_name"] for stream in found["streams"]} >= {"h264", "aac"}
        assert abs(float(found["format"]["duration"]) - 4) < 0.3
    poster = video.rendition("poster").path
    assert poster is not None
    with Image.open(poster) as opened:
        assert opened.size[0] * 9 == opened.size[1] * 16


async def test_a_small_picture_is_never_enlarged(process: Process, tmp_path: Path) -> None:
    small = tmp_path / "small.jpg"
    small.write_bytes(jpeg(500, 250))
    (picture,) = (await process("--json", small)).files
    assert {one.name: one.width for one in picture.renditions} == {"w150": 150, "w320": 320, "w640": 500}
    assert all(one.path is None for one in picture.renditions)


async def test_a_recording_becomes_ready(process: Process, clip: Path, tmp_path: Path) -> None:
    outcome = await process("--json", "--out", tmp_path, "--as", "recording", clip)
    assert outcome.status == 0, outcome.stderr
    (video,) = outcome.files
    assert (video.status, video.asset_type) == ("ready", "video"), outcome.stdout
    playlist = video.rendition("hls").path
    assert playlist is not None
    assert {stream["codec_type"] for stream in (await ffprobe(playlist))["streams"]} == {"video", "audio"}
