"""One trace id follows a video from the request that announced it through every queue to its last rendition."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.conftest import EmbeddedStack, embedded_stack
from tests.faults.sample_uploads import make_clip
from tests.integration.stack.client import LONG_TIMEOUT, open_client


def log_entries(stack: EmbeddedStack, asset_id: str) -> list[dict[str, Any]]:
    """Return the entries of the consumer's log about an asset."""
    lines = (stack.state / "logs" / "consumer.log").read_text().splitlines()
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    return [entry for entry in entries if entry.get("asset_id") == asset_id]


async def test_log_lines_and_exemplars_about_a_video_have_the_trace_id_of_its_upload(tmp_path: Path) -> None:
    film, root = await make_clip(tmp_path), f"Root=1-67000000-{uuid4().hex[:24]}"
    announced = {"asset_type": "video", "content_type": "video/mp4", "original_filename": "v.mp4"}
    async with (
        embedded_stack(tmp_path / "stack", MEDIA_LOG_FORMAT="json", MEDIA_ENVIRONMENT="embedded") as stack,
        open_client(stack, "ann") as client,
    ):
        traced = {"X-Amzn-Trace-Id": root}
        async with client.http.post("upload", json=announced, headers=traced, raise_for_status=True) as answer:
            slot = await answer.json()
        async with client.plain.put(
            slot["upload_url"], data=film, headers=slot["headers"], raise_for_status=True, timeout=LONG_TIMEOUT
        ):
            assert (await client.wait_until_done(slot["asset_id"]))["status"] == "ready"
        port, accept = stack.settings["MEDIA_CONSUMER_PORT"], {"Accept": "application/openmetrics-text;version=1.0.0"}
        async with client.plain.get(f"http://127.0.0.1:{port}/metrics", headers=accept) as answer:
            metrics = await answer.text()
    lines = log_entries(stack, slot["asset_id"])  # all of them: the last is written after the commit that is seen
    assert {line["queue"] for line in lines} >= {"uploads", "transcodes", "transcode-events"}
    assert {line.get("trace_id") for line in lines} == {root}
    for name in ("media_handler_duration_seconds", "media_asset_ready_seconds", "media_scan_done_seconds"):
        assert any(line.startswith(f"{name}_bucket") and root in line for line in metrics.splitlines()), name
    assert 'media_uploads_total{asset_type="video"} 1.0\n' in metrics, "bound by the storage's event"
    assert f'media_upload_bytes_total{{asset_type="video"}} {float(len(film))}\n' in metrics
    assert 'target_info{environment="embedded"}' in metrics
    assert "process_open_fds" in metrics
