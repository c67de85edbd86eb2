from dataclasses import astuple
from typing import Any

from handlers.transcode.mediaconvert.events import parse_event
from handlers.transcode.packaging.outputs import completed_outputs, expected_outputs
from handlers.transcode.planning.ladder import plan
from media.asset import AssetType
from tests.unit.handlers.transcode.sources import audio_only, source

PREFIX = "processed/video/o/a/transcode-1/"
BASE = f"s3://out/{PREFIX}"
FILM = plan(source(), AssetType.VIDEO)
HLS = "application/vnd.apple.mpegurl"


def test_outputs_of_a_video() -> None:
    hls, mp4, poster = expected_outputs(FILM, output_prefix=PREFIX)
    assert astuple(hls) == ("hls", f"{PREFIX}hls/master.m3u8", HLS, 1920, 1080, None)
    assert astuple(mp4) == ("mp4", f"{PREFIX}video.mp4", "video/mp4", 1920, 1080, None)
    assert astuple(poster) == ("poster", f"{PREFIX}poster.0000001.jpg", "image/jpeg", 1920, 1080, None)


def test_outputs_of_a_recording() -> None:
    hls, m4a = expected_outputs(plan(audio_only(), AssetType.AUDIO), output_prefix=PREFIX)
    assert astuple(hls) == ("hls", f"{PREFIX}hls/master.m3u8", HLS, None, None, None)
    assert astuple(m4a) == ("m4a", f"{PREFIX}audio.m4a", "audio/mp4", None, None, None)


def test_names_agree_with_the_plan() -> None:
    for made in (FILM, plan(audio_only(), AssetType.AUDIO)):
        assert tuple(output.name for output in expected_outputs(made, output_prefix=PREFIX)) == made.renditions


def output(path: str, width: int, height: int, duration: int = 60_040) -> dict[str, Any]:
    return {
        "outputFilePaths": [path],
        "durationInMs": duration,
        "videoDetails": {"widthInPx": width, "heightInPx": height},
    }


def complete(*groups: dict[str, Any]) -> dict[str, Any]:
    return {"jobId": "1-a", "status": "COMPLETE", "outputGroupDetails": list(groups)}


def test_sizes_come_from_the_event() -> None:
    variants = [output(f"{BASE}hls/master_360p.m3u8", 640, 360), output(f"{BASE}hls/master_720p.m3u8", 1280, 718)]
    event = parse_event(
        complete(
            {"type": "HLS_GROUP", "playlistFilePaths": [f"{BASE}hls/master.m3u8"], "outputDetails": variants},
            {"type": "FILE_GROUP", "outputDetails": [output(f"{BASE}video.mp4", 1280, 718)]},
            {"type": "FILE_GROUP", "outputDetails": [output(f"{BASE}poster.0000009.jpg", 1280, 718)]},
        )
    )
    chosen = f"{PREFIX}poster.0000000.jpg"
    hls, mp4, poster = completed_outputs(FILM, event.groups, output_bucket="out", output_prefix=PREFIX, poster=chosen)
    assert (hls.key, hls.width, hls.height, hls.duration_ms) == (f"{PREFIX}hls/master.m3u8", 1280, 718, 60_040)
    assert (mp4.width, mp4.height, mp4.duration_ms) == (1280, 718, 60_040)
    assert (poster.key, poster.width, poster.height, poster.duration_ms) == (chosen, 1280, 718, None)


def test_event_cannot_name_files_outside_the_prefix() -> None:
    foreign = [
        output("s3://out/processed/video/o/b/transcode-1/poster.0000005.jpg", 1, 1),
        output(f"s3://other/{PREFIX}video.mp4", 1, 1),
        output(f"{BASE}../x/poster.0000009.jpg", 1, 1),
    ]
    event = parse_event(complete({"type": "FILE_GROUP", "outputDetails": foreign}))
    assert completed_outputs(FILM, event.groups, output_bucket="out", output_prefix=PREFIX) == expected_outputs(
        FILM, output_prefix=PREFIX
    )
