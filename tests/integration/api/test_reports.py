"""The conformance report of an asset's HLS."""

import json
from typing import Any

from media.asset import Rendition
from tests.integration.api.conftest import MEDIA, RunningApi

REPORT: dict[str, Any] = {
    "clean": False,
    "variants": [
        {
            "uri": "720p.m3u8",
            "resolution": "1280x720",
            "codecs": "avc1.64001f",
            "frame_rate": None,
            "segments": 2,
            "duration": 12.0,
            "declared_bandwidth": 9,
            "measured_bandwidth": 8,
            "declared_average": None,
            "measured_average": 7,
            "examined": 2,
        }
    ],
    "findings": [{"rule": "alignment", "where": "720p.m3u8", "message": "segment 2 begins late"}],
    "notes": ["270p.m3u8: 40 of 600 segments were read whole, the beginnings of 160 others"],
}


async def create_film(api: RunningApi) -> tuple[str, str]:
    """Create a ready video. Return the path and the key of its report."""
    slot = await api.announce(asset_type="video", content_type="video/mp4")
    prefix = f"processed/video/doctor-1/{slot['asset_id']}/transcode-1"
    await api.ready(slot["asset_id"], Rendition("hls", f"{prefix}/hls/master.m3u8", "application/vnd.apple.mpegurl", 9))
    return f"{MEDIA}/assets/{slot['asset_id']}/report", f"{prefix}/report.json"


async def test_a_report_is_shown_to_its_owner(shared_api: RunningApi) -> None:
    path, key = await create_film(shared_api)
    assert (await shared_api.call("GET", path))[1]["code"] == "report_not_found"
    bucket = shared_api.service.settings.output_bucket
    await shared_api.service.storage.write(bucket, key, json.dumps(REPORT).encode(), "application/json")
    assert await shared_api.call("GET", path) == (200, REPORT)
    assert (await shared_api.call("GET", path, "doctor-2"))[0] == 404


async def test_malformed_report_is_reported_as_unusable(shared_api: RunningApi) -> None:
    path, key = await create_film(shared_api)
    await shared_api.service.storage.write(
        shared_api.service.settings.output_bucket, key, b'{"clean": "x"}', "application/json"
    )
    status, problem = await shared_api.call("GET", path)
    assert (status, problem["code"]) == (502, "report_unusable")
    await shared_api.call("DELETE", path.removesuffix("/report"))  # other tests of the shared API expect no 5xx


async def test_pictures_have_no_report(shared_api: RunningApi) -> None:
    slot = await shared_api.announce()
    path = f"{MEDIA}/assets/{slot['asset_id']}/report"
    assert (await shared_api.call("GET", path))[1]["code"] == "not_ready"
    await shared_api.ready(slot["asset_id"])
    assert (await shared_api.call("GET", path))[1]["code"] == "report_not_found"
