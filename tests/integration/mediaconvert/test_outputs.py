"""The outputs of a job, checked by ffprobe."""

import re
from pathlib import Path

import pytest

from tests.integration.mediaconvert import clips, jobs
from tests.integration.mediaconvert.jobs import BUCKET, World

OUT = f"s3://{BUCKET}/processed"


async def download(world: World, prefix: str, folder: Path) -> dict[str, Path]:
    """Download all objects under `prefix`. Return the files by the rest of their keys."""
    found = {}
    listed = await world.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    for item in listed.get("Contents", []):
        path = folder / item["Key"].rpartition("/")[2]
        path.write_bytes((await world.read(f"s3://{BUCKET}/{item['Key']}"))[0])
        found[item["Key"].removeprefix(prefix)] = path
    return found


async def test_a_landscape_clip_becomes_hls_mp4_and_poster(world: World, landscape: Path, tmp_path: Path) -> None:
    source = await world.put("uploads/video/o/a/landscape.mp4", landscape)
    job_id = await world.create(
        jobs.job(
            source,
            jobs.hls_group(
                f"{OUT}/a/hls/index",
                [jobs.rung("270", {"Height": 270}, 400_000), jobs.rung("360", {"Height": 360}, 1_500_000)],
            ),
            jobs.file_group(f"{OUT}/a/video", jobs.mp4({"Height": 360}, 1_500_000)),
            jobs.file_group(f"{OUT}/a/poster", jobs.poster({"Height": 360})),
        )
    )
    detail = await world.event(job_id, "COMPLETE", "ERROR")
    assert detail["status"] == "COMPLETE", detail
    assert detail["userMetadata"] == {"asset_id": "8f2a", "attempt": "1"}
    hls, video, poster = detail["outputGroupDetails"]
    assert hls["type"] == "HLS_GROUP"
    assert hls["playlistFilePaths"] == [f"{OUT}/a/hls/index.m3u8"]
    assert hls["outputDetails"][0]["outputFilePaths"] == [f"{OUT}/a/hls/index_270.m3u8"]
    assert hls["outputDetails"][0]["videoDetails"]["widthInPx"] == 480
    assert video["outputDetails"][0]["outputFilePaths"] == [f"{OUT}/a/video.mp4"]
    assert abs(video["outputDetails"][0]["durationInMs"] - 8000) < 100
    assert poster["outputDetails"][0]["outputFilePaths"] == [f"{OUT}/a/poster.0000001.jpg"]
    statuses = [event["detail"]["status"] for event in world.seen if event["detail"]["jobId"] == job_id]
    assert {"PROGRESSING", "INPUT_INFORMATION", "STATUS_UPDATE"} <= set(statuses)

    files = await download(world, "processed/a/", tmp_path)
    probed = await clips.ffprobe(files["video.mp4"])
    assert (clips.stream(probed, "video")["width"], clips.stream(probed, "video")["height"]) == (640, 360)
    head = files["video.mp4"].read_bytes()
    assert head.index(b"moov") < head.index(b"mdat")
    assert clips.stream(await clips.ffprobe(files["poster.0000000.jpg"]), "video")["width"] == 640
    await check_hls(files, tmp_path)


def number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    assert found, pattern
    return int(found[1])


async def check_hls(files: dict[str, Path], folder: Path) -> None:
    master = files["hls/index.m3u8"].read_text()
    streams = re.findall(r"#EXT-X-STREAM-INF:(.+)\n(.+)", master)
    assert [name for _, name in streams] == ["index_270.m3u8", "index_360.m3u8"]
    for attributes, name in streams:
        assert re.search(r'CODECS="avc1\.64[0-9a-f]{4},mp4a\.40\.2"', attributes)
        assert "FRAME-RATE=30.000" in attributes
        assert f"RESOLUTION={'480x270' if '270' in name else '640x360'}" in attributes
        probed = await clips.ffprobe(files[f"hls/{name}"], "-allowed_extensions", "ALL")
        assert clips.stream(probed, "video")["nb_read_frames"] == "240"
        assert abs(float(probed["format"]["duration"]) - 8) < 0.1
        segments = list(clips.entries(files[f"hls/{name}"].read_text()))
        assert [round(duration) for duration, _, _ in segments] == [6, 2]
        rates = [files[f"hls/{segment}"].stat().st_size * 8 / duration for duration, _, segment in segments]
        peak = number(r"(?<![-\w])BANDWIDTH=(\d+)", attributes)
        assert peak == pytest.approx(rates[0], rel=0.1)
        mean = sum(files[f"hls/{segment}"].stat().st_size for _, _, segment in segments)
        assert number(r"AVERAGE-BANDWIDTH=(\d+)", attributes) == pytest.approx(mean, rel=0.1), "8 bits in 8 seconds"
        await check_iframes(files, name.replace(".m3u8", "_I-Frame.m3u8"), folder)
    assert master.count("#EXT-X-I-FRAME-STREAM-INF:") == 2


async def check_iframes(files: dict[str, Path], name: str, folder: Path) -> None:
    playlist = files[f"hls/{name}"].read_text()
    assert "#EXT-X-I-FRAMES-ONLY" in playlist
    found = list(clips.entries(playlist))
    assert len(found) == 4
    assert abs(sum(duration for duration, _, _ in found) - 8) < 0.1
    header = number(r'BYTERANGE="(\d+)@0"', playlist)
    for index, (_, reach, segment) in enumerate(found):
        assert reach is not None
        length, offset = reach
        data = files[f"hls/{segment}"].read_bytes()
        if index in {0, 3}:
            assert offset < 10 * 188, "every segment begins with a key frame"
        alone = folder / f"frame{index}.ts"
        alone.write_bytes(data[:header] + data[offset : offset + length])
        shown = await clips.ffprobe(alone, "-show_frames", "-select_streams", "v")
        assert len(shown["frames"]) == 1
        assert shown["frames"][0]["key_frame"] == 1


async def test_content_types_are_those_of_the_files(world: World, landscape: Path) -> None:
    source = await world.put("uploads/video/o/t/clip.mp4", landscape)
    groups = [
        jobs.hls_group(f"{OUT}/t/", [jobs.rung("small", {"Height": 90}, 100_000)]),
        jobs.file_group(f"{OUT}/t/", jobs.mp4({"Height": 90}, 100_000), jobs.m4a(), jobs.poster({"Height": 90})),
    ]
    detail = await world.event(await world.create(jobs.job(source, *groups)), "COMPLETE", "ERROR")
    assert detail["status"] == "COMPLETE", detail
    expected = {
        "clip.m3u8": "application/vnd.apple.mpegurl",
        "clip_small.m3u8": "application/vnd.apple.mpegurl",
        "clip_small_I-Frame.m3u8": "application/vnd.apple.mpegurl",
        "clip_small_00001.ts": "video/mp2t",
        "clip.mp4": "video/mp4",
        "clip.m4a": "audio/mp4",
        "clip.0000000.jpg": "image/jpeg",
    }
    assert {name: (await world.read(f"{OUT}/t/{name}"))[1] for name in expected} == expected


async def test_a_rotated_silent_clip_stands_upright(world: World, portrait: Path, tmp_path: Path) -> None:
    source = await world.put("uploads/video/o/p/portrait.mp4", portrait)
    job_id = await world.create(
        jobs.job(
            source,
            jobs.hls_group(f"{OUT}/p/index", [jobs.rung("270", {"Width": 270}, 400_000)]),
            jobs.file_group(f"{OUT}/p/video", jobs.mp4({"Width": 360}, 1_500_000, audio=False)),
            jobs.file_group(f"{OUT}/p/poster", jobs.poster({"Width": 360})),
        )
    )
    detail = await world.event(job_id, "COMPLETE", "ERROR")
    assert detail["status"] == "COMPLETE", detail
    assert detail["warnings"] == [{"code": 0, "count": 1}], "sound was asked for and is not there"
    files = await download(world, "processed/p/", tmp_path)
    probed = await clips.ffprobe(files["video.mp4"])
    video = clips.stream(probed, "video")
    assert (video["width"], video["height"], len(probed["streams"])) == (360, 640, 1)
    assert "side_data_list" not in video
    assert "RESOLUTION=270x480" in files["index.m3u8"].read_text()
    assert clips.stream(await clips.ffprobe(files["poster.0000000.jpg"]), "video")["height"] == 640


async def test_sound_alone_becomes_m4a_and_an_audio_variant(world: World, speech: Path, tmp_path: Path) -> None:
    source = await world.put("uploads/audio/o/s/speech.mp3", speech)
    variant = {
        "NameModifier": "_audio",
        "ContainerSettings": {"Container": "M3U8"},
        "AudioDescriptions": [{"CodecSettings": jobs.AAC}],
        "OutputSettings": {"HlsSettings": {"AudioTrackType": "AUDIO_ONLY_VARIANT_STREAM"}},
    }
    document = jobs.job(
        source, jobs.hls_group(f"{OUT}/s/index", [variant]), jobs.file_group(f"{OUT}/s/audio", jobs.m4a())
    )
    detail = await world.event(await world.create(document), "COMPLETE", "ERROR")
    assert detail["status"] == "COMPLETE", detail
    assert "videoDetails" not in detail["outputGroupDetails"][1]["outputDetails"][0]
    files = await download(world, "processed/s/", tmp_path)
    probed = await clips.ffprobe(files["audio.m4a"])
    assert clips.stream(probed, "audio")["codec_name"] == "aac"
    assert abs(float(probed["format"]["duration"]) - 5) < 0.2
    assert 'CODECS="mp4a.40.2"' in files["index.m3u8"].read_text()
    await clips.ffprobe(files["index_audio.m3u8"], "-allowed_extensions", "ALL")


CORPUS = {
    "h264_white_frame_sar_16_9.mp4": (426, 180),
    "frames.webm": (180, 180),
    "hevc_white_frame.mp4": (240, 180),
    "sample.mp4": (142, 180),
    "video_rotation_90.mp4": (108, 180),
}
"""Display aspects at 180 lines: a wide sample aspect, a square, a single frame, a portrait, a quarter turn."""


@pytest.mark.parametrize("name", CORPUS)
async def test_the_display_aspect_is_kept(world: World, name: str, corpus: Path, tmp_path: Path) -> None:
    source = await world.put(f"uploads/video/o/c/{name}", corpus / "media" / name)
    groups = [
        jobs.hls_group(f"{OUT}/{name}/index", [jobs.rung("180", {"Height": 180}, 400_000)]),
        jobs.file_group(f"{OUT}/{name}/v", jobs.mp4({"Height": 180}, 400_000), jobs.poster({"Height": 180})),
    ]
    detail = await world.event(await world.create(jobs.job(source, *groups)), "COMPLETE", "ERROR")
    assert detail["status"] == "COMPLETE", detail
    files = await download(world, f"processed/{name}/", tmp_path)
    for made in ("v.mp4", "v.0000000.jpg", "index_180.m3u8"):
        more = ["-allowed_extensions", "ALL"] if made.endswith("m3u8") else []
        video = clips.stream(await clips.ffprobe(files[made], *more), "video")
        assert (video["width"], video["height"]) == CORPUS[name], made
    assert list(clips.entries(files["index_180_I-Frame.m3u8"].read_text()))
