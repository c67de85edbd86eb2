"""Rules and dashboard use metrics that exist; every alert fires in a test and has a section in the runbook."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped] # ships no types
from prometheus_client import CollectorRegistry, generate_latest

from api.metrics import ApiMetrics
from deploy import dashboard
from media.telemetry import Metrics, Objective

ROOT = Path(__file__).parents[3]
DEPLOYED = ROOT / "deploy" / "prometheus"
RULES = [DEPLOYED / name for name in yaml.safe_load((DEPLOYED / "prometheus.yaml").read_text())["rule_files"]]
CASES = Path(__file__).with_name("alerts_test.yaml")
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "media.json"
_WORD = re.compile(r"[a-z_]*media_[a-z_:0-9]+|process_[a-z_]+|\bup\b|\bALERTS\b")


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed: apt-get install --no-install-recommends prometheus")
    return found


def rules() -> Iterator[Any]:
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


def alerts() -> dict[str, Any]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def series(registry: CollectorRegistry) -> set[str]:
    """Return every name that a registry may export, even without a recorded value."""
    names: set[str] = set()
    for metric in registry.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(metric.type, [""])
        names |= {metric.name + suffix for suffix in suffixes}
    return names


def known() -> set[str]:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    return series(Metrics().registry) | series(ApiMetrics().registry) | recorded | {"up", "ALERTS"}


def panels() -> Iterator[Any]:
    """Yield all panels, including those of folded rows."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield panel
        yield from panel.get("panels", ())


def expressions() -> Iterator[str]:
    yield from (str(rule["expr"]) for rule in rules())
    for panel in panels():
        yield from (target["expr"].replace("$__range", "6h") for target in panel.get("targets", ()))


def named_in(expression: str) -> set[str]:
    plain = re.sub(r'"[^"]*"|\{\{[^}]*\}\}|\[[^]]*\]', "", expression)
    return {word for word in re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", plain) if _WORD.fullmatch(word) or ":" in word}


def test_every_queried_metric_exists() -> None:
    asked = {name for expression in expressions() for name in named_in(expression)}
    assert len(asked) > 20
    assert not asked - known()


def labels() -> dict[str, set[str]]:
    """The labels of every series that the services export; where it is from, Prometheus adds."""
    found: dict[str, set[str]] = {}
    for registry in (Metrics().registry, ApiMetrics().registry):
        for name, metric in registry._names_to_collectors.items():
            found[name] = {*getattr(metric, "_labelnames", ()), "job", "instance", "le"}
    return found


def test_every_queried_label_belongs_to_its_metric() -> None:
    known_labels, seen = labels(), 0
    for expression in expressions():
        for name, asked in re.findall(r"(media_\w+)\{([^}]*)\}", expression):
            wanted = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", asked))
            assert wanted <= known_labels[name], (name, wanted)
            seen += 1
    assert seen > 10


def test_every_objective_is_recorded_and_shown() -> None:
    shown = "\n".join(expressions())
    for objective in Objective:
        assert f'slo="{objective}"' in shown


def test_the_dashboard_is_up_to_date() -> None:
    assert not dashboard.outdated(), "run python -m deploy.dashboard"


def test_the_unfolded_rows_fit_one_screen() -> None:
    """The rows take 24 of Grafana's units, which a screen of 1080 lines shows; the rest is folded."""
    folded = [panel["gridPos"]["y"] for panel in panels() if panel["type"] == "row" and panel["collapsed"]]
    assert folded
    assert min(folded) <= 25


def test_every_panel_has_valid_queries(promtool: str, tmp_path: Path) -> None:
    found = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(expressions())]
    path = tmp_path / "panels.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": found}]}))
    ended = subprocess.run([promtool, "check", "rules", path], check=False, timeout=60, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_rules_are_valid(promtool: str) -> None:
    subprocess.run([promtool, "check", "rules", *map(str, RULES)], check=True, timeout=60, capture_output=True)


def test_every_alert_fires_and_none_in_a_healthy_hour(promtool: str) -> None:
    ended = subprocess.run(
        [promtool, "test", "rules", str(CASES)], check=False, timeout=120, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_every_alert_has_a_test_and_a_section_in_the_runbook() -> None:
    tested = {case["name"] for case in yaml.safe_load(CASES.read_text())["tests"]}
    headings = re.findall(r"(?m)^### (\w+)$", (ROOT / "docs" / "runbook.md").read_text())
    for name, rule in alerts().items():
        assert name in tested
        assert name in headings
        address, _, place = rule["annotations"]["runbook_url"].partition("#")
        assert address == '{{ query "media:runbook:info" | first | label "url" }}'
        assert place == name.lower()
        assert rule["labels"]["severity"] in {"page", "ticket"}


def test_every_cloudwatch_alarm_links_to_a_section_in_the_runbook() -> None:
    template = (ROOT / "deploy" / "cloudformation" / "alarms.yaml").read_text()
    descriptions = re.findall(r"AlarmDescription: (.*)", template)
    headings = {name.lower() for name in re.findall(r"(?m)^### (\w+)$", (ROOT / "docs" / "runbook.md").read_text())}
    assert len(descriptions) > 5
    for description in descriptions:
        [place] = re.findall(r"\$\{RunbookUrl\}#(\w+)", description)
        assert place in headings


@pytest.mark.parametrize("registry", [Metrics().registry, ApiMetrics().registry], ids=["consumer", "api"])
def test_exported_metrics_pass_promtool(promtool: str, registry: CollectorRegistry) -> None:
    ended = subprocess.run(
        [promtool, "check", "metrics"], input=generate_latest(registry), check=False, timeout=60, capture_output=True
    )
    assert ended.returncode == 0, ended.stdout.decode() + ended.stderr.decode()
