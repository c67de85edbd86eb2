"""Each line of a service's log is JSON, whoever writes it, and metrics say what a process is."""

import json
import os
import pty
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_classic

from media import VERSION
from media.asset import AssetType
from media.network.exposition import metrics_page
from media.telemetry import Metrics, exemplar, service_registry

ROOT = Path(__file__).parents[3]
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
"""What Prometheus sends as `Accept`."""
PROGRAM = """
import asyncio, gc, logging, threading, warnings
import structlog
from media.telemetry import configure_logging, log_uncaught

configure_logging("json", "info")
log_uncaught()
structlog.contextvars.bind_contextvars(trace_id="Root=1-2-3")
structlog.get_logger().info("ours")
logging.getLogger("aiohttp.server").error('a "quoted"\\nline with token=%s', "sesame")
warnings.warn("deprecated", DeprecationWarning)
warnings.warn("careful", RuntimeWarning)

def fail():
    raise ValueError("https://a/?token=sesame")

thread = threading.Thread(target=fail, name="worker")
thread.start()
thread.join()

async def lose_a_task():
    asyncio.ensure_future(asyncio.to_thread(fail))
    await asyncio.sleep(0.2)
    gc.collect()

asyncio.run(lose_a_task())

class Unraisable:
    def __del__(self):
        fail()

Unraisable()
fail()
"""


def test_every_line_is_json_whoever_writes_it() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (1, "")
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert all({"event", "level", "timestamp"} <= set(line) for line in lines), lines
    named = {line.get("logger", line["event"]): line for line in lines}
    assert set(named) == {
        *("ours", "aiohttp.server", "py.warnings", "asyncio"),
        *("thread.uncaught", "process.unraisable", "process.uncaught"),
    }
    assert named["aiohttp.server"]["event"] == 'a "quoted"\nline with token=[redacted]'
    assert "RuntimeWarning: careful" in named["py.warnings"]["event"]
    assert named["aiohttp.server"]["trace_id"] == "Root=1-2-3"
    for name in ("asyncio", "thread.uncaught", "process.unraisable", "process.uncaught"):
        assert named[name]["exception"][0]["exc_type"] == "ValueError", named[name]
    assert "sesame" not in ended.stdout


def page(registry: CollectorRegistry, **headers: str) -> tuple[str, str]:
    body, answer = metrics_page(registry, {name.replace("_", "-"): value for name, value in headers.items()})
    return body.decode(), answer["Content-Type"]


def parse_openmetrics(text: str) -> list[Metric]:
    return list(openmetrics.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]


def samples(families: Any) -> dict[str, Any]:
    return {sample.name: sample for family in families for sample in family.samples}


PROGRAMS = (
    ["api"],
    ["consumer"],
    ["media.schema", "check"],
    ["handlers.scan.signatures", "mirror"],
    ["handlers.scan.signatures", "serve", "clamd"],
)
"""What containers run. The last one needs no bucket, and gets a folder that it cannot have."""
SETTINGS = {"MEDIA_LOG_FORMAT": "json", "MEDIA_SIGNATURES_FOLDER": "/dev/null/none", "PYTHONPATH": str(ROOT)}


def test_a_program_that_cannot_run_says_why_in_a_line_of_json(tmp_path: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-m", *program], cwd=tmp_path, env=SETTINGS, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for program in PROGRAMS
    ]
    for program, process in zip(PROGRAMS, started, strict=True):
        out, err = process.communicate(timeout=60)
        lines = [json.loads(line) for line in (out + err).splitlines()]
        assert process.returncode in {1, 2}, program
        assert lines[-1].keys() == {"event", "level", "timestamp", "reason"}, program
        assert (lines[-1]["event"], lines[-1]["level"]) == ("process.cannot_run", "critical")


def test_a_terminal_shows_why_a_program_cannot_run_as_plain_text(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    program = [sys.executable, "-m", "media.schema", "check"]
    try:
        subprocess.run(program, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, stderr=theirs, check=False, timeout=60)
        assert os.read(ours, 4096).startswith(b"usage: MEDIA_DATABASE_URL=")
    finally:
        os.close(ours)
        os.close(theirs)


def test_metrics_say_build_environment_and_process() -> None:
    registry = service_registry(commit="abc123", environment="prod")
    Metrics(registry)
    for text, parse in (
        (page(registry)[0], parse_classic),
        (page(registry, Accept=PROMETHEUS)[0], parse_openmetrics),
    ):
        found = samples(parse(text))
        assert found["media_build_info"].labels == {"version": VERSION, "commit": "abc123"}
        assert found["target_info"].labels == {"environment": "prod"}
        assert {"process_start_time_seconds", "process_resident_memory_bytes", "process_open_fds"} <= set(found)
        assert not [name for name in found if name.endswith("_created")]


def test_the_version_stands_in_one_place() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert pyproject["project"]["dynamic"] == ["version"]
    assert pyproject["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "media.VERSION"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)


def test_openmetrics_with_exemplars_is_sent_where_it_is_asked_for() -> None:
    metrics = Metrics()
    metrics.duration.labels("images", "image").observe(0.2, exemplar("Root=1-2-3"))
    text, content_type = page(metrics.registry, Accept=PROMETHEUS)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    families = parse_openmetrics(text)
    told = [sample for family in families for sample in family.samples if sample.exemplar]
    assert [(sample.exemplar.labels, sample.labels["le"]) for sample in told if sample.exemplar] == [
        ({"trace_id": "Root=1-2-3"}, "0.25")
    ]
    for accept in ("", "*/*", "text/plain;version=0.0.4", "application/openmetrics-text;version=x"):
        text, content_type = page(metrics.registry, Accept=accept)
        assert content_type.startswith("text/plain; version=0.0.4"), accept
        assert "Root=" not in text


def test_no_trace_id_spoils_the_metrics() -> None:
    metrics = Metrics()
    for trace_id in ("", "é" * 120, "x" * 121, "x" * 10_000, 'a"\n\\'):
        metrics.duration.labels("images", "image").observe(0.2, exemplar(trace_id))
    text, _ = page(metrics.registry, Accept=PROMETHEUS)
    assert parse_openmetrics(text)


def test_uploads_are_counted_by_type_alone() -> None:
    metrics = Metrics()
    metrics.uploads.count(AssetType.VIDEO, 3_000_000_000)
    metrics.uploads.count(AssetType.VIDEO, None)
    text = generate_latest(metrics.registry).decode()
    assert 'media_uploads_total{asset_type="video"} 2.0' in text
    assert 'media_upload_bytes_total{asset_type="video"} 3e+09' in text
    assert 'media_uploads_total{asset_type="image"} 0.0' in text
