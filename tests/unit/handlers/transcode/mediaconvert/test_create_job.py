from dataclasses import replace
from fractions import Fraction
from typing import Any
from uuid import UUID

import pytest

from deploy.local.mediaconvert.document import JobRequest
from deploy.local.mediaconvert.semantics import problems
from deploy.local.mediaconvert.validation import operation, violations
from handlers.transcode.mediaconvert.create_job import create_job
from handlers.transcode.planning.ladder import plan
from handlers.transcode.planning.plan import Plan
from media.asset import AssetType, ObjectVersion
from tests.unit.handlers.transcode.sources import MONO, STEREO, SURROUND, VIDEO, audio_only, source

ASSET = UUID("6f1f7a34-4c53-4d6a-9e57-1a1a8f5d0001")
TWO_LANGUAGES = (STEREO, replace(MONO, number=3, language="ger", default=False))
SECOND = replace(MONO, index=2, number=2)
MATROSKA = "matroska,webm"


def job(made: Plan, *, queue: str | None = None, token: str = "t" * 64) -> dict[str, Any]:
    return create_job(
        made,
        source=ObjectVersion("in", "uploads/video/o/a/film.mp4", "v1"),
        output_bucket="out",
        output_prefix="processed/video/o/a/transcode-2/",
        role_arn="arn:aws:iam::123456789012:role/mediaconvert",
        queue=queue,
        asset_id=ASSET,
        attempt=2,
        token=token,
    )


def video_job(*arguments: Any, **options: Any) -> dict[str, Any]:
    return job(plan(source(*arguments, **options), AssetType.VIDEO))


PLANS = {
    "landscape": plan(source(), AssetType.VIDEO),
    "portrait, 5.1": plan(source(1080, 1920, audio=(SURROUND,)), AssetType.VIDEO),
    "silent, tiny": plan(source(60, 100, audio=(), duration=0.04), AssetType.VIDEO),
    "mono, 120 fps": plan(source(audio=(MONO,), video=replace(VIDEO, frame_rate=Fraction(120))), AssetType.VIDEO),
    "slow": plan(source(video=replace(VIDEO, frame_rate=Fraction(5))), AssetType.VIDEO),
    "interlaced HDR": plan(source(video=replace(VIDEO, interlaced=True, hdr=True)), AssetType.VIDEO),
    "turned mkv": plan(source(container=MATROSKA, video=replace(VIDEO, rotation=270)), AssetType.VIDEO),
    "two languages": plan(source(audio=TWO_LANGUAGES), AssetType.VIDEO),
    "uneven": plan(replace(source(audio=(replace(STEREO, codec="dts"), SECOND)), ends={0: 3.0}), AssetType.VIDEO),
    "sound only": plan(audio_only(), AssetType.AUDIO),
}


def test_a_slow_picture_has_no_b_frames() -> None:
    for name, b_frames in (("slow", {0}), ("landscape", {None})):
        outputs = [output for group in job(PLANS[name])["Settings"]["OutputGroups"] for output in group["Outputs"]]
        codecs = [output["VideoDescription"]["CodecSettings"] for output in outputs if "VideoDescription" in output]
        h264 = [codec["H264Settings"] for codec in codecs if codec["Codec"] == "H_264"]
        assert {settings.get("NumberBFramesBetweenReferenceFrames") for settings in h264} == b_frames


@pytest.mark.parametrize("name", PLANS)
def test_request_is_valid_for_the_service_model(name: str) -> None:
    request = job(PLANS[name], queue="arn:aws:mediaconvert:eu-central-1:123456789012:queues/Default")
    assert violations(operation("CreateJob").input_shape, request) == []
    assert problems(JobRequest.model_validate(request)) == []


def test_request_names_the_asset_and_the_attempt() -> None:
    request = video_job()
    assert request["UserMetadata"] == {"asset_id": str(ASSET), "attempt": "2", "bucket": "out"}
    assert "Queue" not in request
    assert request["Settings"]["Inputs"][0]["FileInput"] == "s3://in/uploads/video/o/a/film.mp4"


@pytest.mark.parametrize("token", ["", "t" * 65])
def test_tokens_have_a_limit(token: str) -> None:
    with pytest.raises(ValueError, match="64"):
        job(PLANS["landscape"], token=token)


def groups(request: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {group["Name"]: group for group in request["Settings"]["OutputGroups"]}


def test_the_2_mbit_variant_comes_first() -> None:
    outputs = groups(video_job())["HLS"]["Outputs"]
    assert [output["NameModifier"] for output in outputs] == ["_360p", "_270p", "_540p", "_720p", "_1080p"]


def test_hls_and_h264_settings() -> None:
    hls = groups(video_job())["HLS"]
    settings = hls["OutputGroupSettings"]["HlsGroupSettings"]
    assert settings["Destination"] == "s3://out/processed/video/o/a/transcode-2/hls/master"
    wanted = {"SegmentLength": 6, "MinSegmentLength": 0, "SegmentLengthControl": "GOP_MULTIPLE"}
    assert settings.items() >= {**wanted, "CodecSpecification": "RFC_6381"}.items()
    for output in hls["Outputs"]:
        assert output["OutputSettings"]["HlsSettings"]["IFrameOnlyManifest"] == "INCLUDE"
        h264 = output["VideoDescription"]["CodecSettings"]["H264Settings"]
        fixed = {"GopSize": 2.0, "GopSizeUnits": "SECONDS", "GopClosedCadence": 1, "RateControlMode": "QVBR"}
        assert h264.items() >= {**fixed, "FramerateNumerator": 25, "FramerateDenominator": 1}.items()
        assert (h264["ParNumerator"], h264["ParDenominator"]) == (1, 1)


def test_mp4_and_poster_have_the_best_size() -> None:
    made = groups(video_job(1080, 1920))
    for name in ("MP4", "Poster"):
        video = made[name]["Outputs"][0]["VideoDescription"]
        assert (video["Width"], video["Height"]) == (1080, 1920)
    capture = made["Poster"]["Outputs"][0]["VideoDescription"]["CodecSettings"]["FrameCaptureSettings"]
    # One picture at 0 s and one at each tenth of 60 s.
    assert (capture["FramerateNumerator"], capture["FramerateDenominator"], capture["MaxCaptures"]) == (1000, 6000, 10)


def test_source_of_one_frame_is_captured_once() -> None:
    capture = groups(job(PLANS["silent, tiny"]))["Poster"]["Outputs"][0]["VideoDescription"]["CodecSettings"]
    assert capture["FrameCaptureSettings"]["MaxCaptures"] == 1


def test_silent_source_has_no_audio_settings() -> None:
    assert "Audio" not in str(job(PLANS["silent, tiny"]))


def test_5_1_audio_is_mixed_down_and_mono_stays_mono() -> None:
    mixed = groups(job(PLANS["portrait, 5.1"]))["MP4"]["Outputs"][0]["AudioDescriptions"][0]
    assert mixed["RemixSettings"]["ChannelsIn"] == 6
    left, right = (side["InputChannelsFineTune"] for side in mixed["RemixSettings"]["ChannelMapping"]["OutputChannels"])
    assert len(left) == len(right) == 6
    # Full scale on all channels stays below full scale.
    assert sum(10 ** (gain / 20) for gain in left) == pytest.approx(1.0, abs=0.01)
    mono = groups(job(PLANS["mono, 120 fps"]))["MP4"]["Outputs"][0]["AudioDescriptions"][0]
    assert mono["CodecSettings"]["AacSettings"]["CodingMode"] == "CODING_MODE_1_0"


def test_other_language_is_an_alternate_audio_output() -> None:
    request = job(PLANS["two languages"])
    selectors = request["Settings"]["Inputs"][0]["AudioSelectors"]
    assert [selector["Tracks"] for selector in selectors.values()] == [[1], [3]]
    *variants, other = groups(request)["HLS"]["Outputs"]
    assert {one["OutputSettings"]["HlsSettings"]["AudioRenditionSets"] for one in variants} == {"sound"}
    hls = other["OutputSettings"]["HlsSettings"]
    assert hls["AudioTrackType"] == "ALTERNATE_AUDIO_AUTO_SELECT"
    assert (hls["AudioGroupId"], hls["AudioOnlyContainer"]) == ("sound", "M2TS")
    assert "VideoDescription" not in other
    (sound,) = other["AudioDescriptions"]
    assert selectors[sound["AudioSourceName"]]["Tracks"] == [3]
    assert sound["CodecSettings"]["AacSettings"]["CodingMode"] == "CODING_MODE_1_0"


def test_the_picture_is_filled_up_only_where_it_is_missing() -> None:
    selectors = {name: job(PLANS[name])["Settings"]["Inputs"][0]["VideoSelector"] for name in ("landscape", "uneven")}
    assert "PadVideo" not in selectors["landscape"]
    assert selectors["uneven"]["PadVideo"] == "BLACK"
    late = video_job(video=replace(VIDEO, begins=2.0))["Settings"]["Inputs"][0]["VideoSelector"]
    assert late["PadVideo"] == "BLACK"
    soon = video_job(video=replace(VIDEO, begins=0.05))["Settings"]["Inputs"][0]["VideoSelector"]
    assert "PadVideo" not in soon, "no flash of black for a frame or two"


def test_only_audio_that_ends_early_is_filled_up() -> None:
    def lengths(made: Plan) -> set[str | None]:
        document = groups(job(made))
        containers = [one["ContainerSettings"] for one in document["HLS"]["Outputs"] + document["MP4"]["Outputs"]]
        settings = [one.get("M3u8Settings") or one.get("Mp4Settings") or {} for one in containers]
        return {one.get("AudioDuration") for one in settings}

    early = plan(replace(source(), ends={0: 60.0, 1: 30.0}), AssetType.VIDEO)
    assert lengths(early) == {"MATCH_VIDEO_DURATION"}
    assert lengths(PLANS["landscape"]) == lengths(PLANS["uneven"]) == {None}


def test_track_after_an_unreadable_one_is_selected_by_stream_number() -> None:
    (selector,) = job(PLANS["uneven"])["Settings"]["Inputs"][0]["AudioSelectors"].values()
    assert (selector["SelectorType"], selector["Streams"]) == ("STREAM", [3])
    assert "Tracks" not in selector


def test_rotation_is_automatic_only_for_mp4() -> None:
    assert video_job()["Settings"]["Inputs"][0]["VideoSelector"]["Rotate"] == "AUTO"
    assert job(PLANS["turned mkv"])["Settings"]["Inputs"][0]["VideoSelector"]["Rotate"] == "DEGREES_270"


def test_audio_only_job_has_no_picture_settings() -> None:
    request = job(PLANS["sound only"])
    assert "Video" not in str(request)
    assert set(groups(request)) == {"HLS", "M4A"}
