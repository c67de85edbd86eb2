"""compose.yaml uses settings that exist, and Prometheus scrapes its services."""

from typing import Any

import pytest
import yaml  # type: ignore[import-untyped] # ships no types

from api.app import check as api_check
from consumer.__main__ import check as consumer_check
from deploy.images import ROOT
from deploy.local.rehearsal.templates import template
from media.settings import Check, Settings, load, variable

NOT_OURS = {"AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"}


@pytest.fixture(scope="module")
def services() -> Any:
    return yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]


@pytest.mark.parametrize("name", ["consumer", "api", "schema"])
def test_the_environment_has_all_required_settings_and_no_unknown_ones(services: Any, name: str) -> None:
    given = set(services[name]["environment"])
    known = {variable(field) for field in Settings.model_fields}
    required = {variable(field) for field, info in Settings.model_fields.items() if info.is_required()}
    assert given - NOT_OURS <= known
    assert required <= given


@pytest.mark.parametrize(("name", "check"), [("api", api_check), ("consumer", consumer_check)])
def test_the_services_start_with_their_environment(
    services: Any, name: str, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable_name, value in services[name]["environment"].items():
        monkeypatch.setenv(variable_name, value)
    load(None, check)


def test_our_containers_are_locked_down(services: Any) -> None:
    for name, service in services.items():
        if "build" in service:
            assert service["user"] == "10001:10001", name
            assert service["cap_drop"] == ["ALL"], name
    for name in ("consumer", "api", "clamd"):
        assert services[name]["read_only"] is True


def test_limits_and_restarts_are_those_of_the_task_definition(services: Any) -> None:
    task = template("service")["Resources"]["ConsumerTask"]["Properties"]["ContainerDefinitions"]
    declared = template("service")["Parameters"]
    given = {container["Name"]: container["Memory"] for container in task if "Memory" in container}
    limits = {
        name: declared[limit["Ref"]]["Default"] if isinstance(limit, dict) else limit for name, limit in given.items()
    }
    assert limits == {name: int(services[name]["mem_limit"].removesuffix("m")) for name in limits}
    restarted = {container["Name"] for container in task if "RestartPolicy" in container}
    assert {services[name]["restart"] for name in restarted} == {"unless-stopped"}


def test_prometheus_scrapes_services_that_exist(services: Any) -> None:
    jobs = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yaml").read_text())["scrape_configs"]
    targets = [target for job in jobs for config in job.get("static_configs", ()) for target in config["targets"]]
    assert targets
    assert {target.partition(":")[0] for target in targets} <= set(services)
