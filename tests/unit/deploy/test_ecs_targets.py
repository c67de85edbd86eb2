"""The running tasks on Fargate become Prometheus' targets; `aws` is a stand-in that evaluates the real queries."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped] # ships no types

from deploy.images import ROOT

FOLDER = ROOT / "deploy" / "prometheus"
SCRIPT = FOLDER / "ecs-targets.sh"
AWS = f"""#!{sys.executable}
import json, os, sys
import jmespath

options = dict(zip(sys.argv[3::2], sys.argv[4::2]))
if options["--cluster"] != "prod-media" or os.environ.get("AWAY"):
    sys.exit(254)
tasks = json.loads(os.environ["TASKS"])
if sys.argv[2] == "list-tasks":
    answer = {{"taskArns": [arn for arn in tasks if options["--service-name"] in arn]}}
else:
    named = sys.argv[sys.argv.index("--tasks") + 1 : sys.argv.index("--output")]
    assert len(named) <= 100
    answer = {{"tasks": [tasks[arn] for arn in named]}}
found = jmespath.search(sys.argv[sys.argv.index("--query") + 1], answer)
text = "\\t".join(found) if "text" in sys.argv else json.dumps(found)
print(text)
"""


def task(address: str, status: str = "RUNNING") -> dict[str, Any]:
    """Return as much of a task as DescribeTasks says, with a container that has no interface yet."""
    interface = {"attachmentId": "a", "privateIpv4Address": address}
    return {"lastStatus": status, "containers": [{"networkInterfaces": []}, {"networkInterfaces": [interface]}]}


def write_targets(folder: Path, tasks: dict[str, Any], *, away: bool = False) -> int:
    aws = folder / "bin" / "aws"
    aws.parent.mkdir(exist_ok=True)
    aws.write_text(AWS)
    aws.chmod(0o755)
    env = {"PATH": f"{aws.parent}:/usr/bin:/bin", "TASKS": json.dumps(tasks)} | ({"AWAY": "1"} if away else {})
    ended = subprocess.run([SCRIPT, "prod", folder], env=env, timeout=60, check=False, capture_output=True)
    return ended.returncode


def test_running_tasks_become_targets_with_job_and_environment(tmp_path: Path) -> None:
    tasks = {
        "arn:consumer/1": task("10.0.0.1"),
        "arn:consumer/2": task("10.0.0.2", "PENDING"),
        "arn:consumer/3": task("10.0.0.3"),
        "arn:api/1": task("10.0.1.1"),
    }
    assert write_targets(tmp_path, tasks) == 0
    consumers = json.loads((tmp_path / "media-consumer.json").read_text())
    labels = {"job": "media-consumer", "environment": "prod"}
    assert consumers == [{"targets": [f"10.0.0.{n}:8006"], "labels": labels} for n in (1, 3)]
    [api] = json.loads((tmp_path / "media-api.json").read_text())
    assert api == {"targets": ["10.0.1.1:8005"], "labels": {"job": "media-api", "environment": "prod"}}


def test_last_targets_stay_while_aws_is_away_and_go_with_the_last_task(tmp_path: Path) -> None:
    assert write_targets(tmp_path, {"arn:api/1": task("10.0.1.1")}) == 0
    before = (tmp_path / "media-api.json").read_text()
    assert write_targets(tmp_path, {}, away=True) != 0
    assert (tmp_path / "media-api.json").read_text() == before
    assert write_targets(tmp_path, {}) == 0
    assert json.loads((tmp_path / "media-api.json").read_text()) == []


@pytest.mark.parametrize("job", ["media-consumer", "media-api"])
def test_prometheus_reads_the_files_that_are_written(tmp_path: Path, job: str) -> None:
    [config] = [
        found
        for scraped in yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["scrape_configs"]
        for found in scraped.get("file_sd_configs", ())
    ]
    assert write_targets(tmp_path, {"arn:api/1": task("10.0.1.1"), "arn:consumer/1": task("10.0.0.1")}) == 0
    [pattern] = config["files"]
    assert tmp_path / f"{job}.json" in set(tmp_path.glob(Path(pattern).name))
