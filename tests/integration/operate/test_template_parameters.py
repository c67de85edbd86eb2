"""Every parameter of every template is checked, documented and does what it says."""

import json
import re
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import pytest

from deploy.local.emulator import ACCOUNT, REGION, Emulator
from deploy.local.rehearsal.templates import PARTS, template
from deploy.rendering import Deployment
from media.settings import Settings, variable
from tests.integration.operate.conftest import ROOT
from tests.integration.operate.created_stacks import PARAMETERS, create_stacks
from tests.integration.operate.template_parameters import API, CONSUMER, EFFECTS

DECLARED: Mapping[str, Any] = {name: info for part in PARTS for name, info in template(part)["Parameters"].items()}
REQUIRED = {
    **PARAMETERS,
    "Environment": "prod",
    "VpcId": "vpc-0",
    "PublicSubnets": "subnet-0",
    "PrivateSubnets": "subnet-0",
}
BASE = {name: value for name, value in REQUIRED.items() if "Default" not in DECLARED[name]}


def test_every_parameter_has_a_value_in_the_table_that_is_not_its_default() -> None:
    assert set(EFFECTS) == set(DECLARED)
    for name, effect in EFFECTS.items():
        assert effect.value != str(DECLARED[name].get("Default", BASE.get(name))), name


@pytest.mark.parametrize("name", EFFECTS)
def test_parameter_has_its_effect(name: str) -> None:
    effect = EFFECTS[name]
    usual = Deployment(
        {**BASE, **effect.others, name: str(DECLARED[name].get("Default", BASE.get(name)))}, ACCOUNT, REGION
    )
    changed = Deployment({**BASE, **effect.others, name: effect.value}, ACCOUNT, REGION)
    for path, expected in effect.at.items():
        assert changed.at(path) == expected, path
    assert any(_at(usual, path) != expected for path, expected in effect.at.items())


def test_domain_without_a_key_serves_public_files() -> None:
    given = {"CloudFrontDomain": "cdn.docfliq.example", "CloudFrontSigningKey": "none", "CloudFrontPublicKey": ""}
    deployment = Deployment({**BASE, **given}, ACCOUNT, REGION)
    assert deployment.at(f"{API}/Environment/CLOUDFRONT_DOMAIN") == "cdn.docfliq.example"
    assert deployment.at(f"{API}/Environment/CLOUDFRONT_KEY_PAIR_ID") == ""
    assert deployment.at(f"{API}/Secrets/CLOUDFRONT_PRIVATE_KEY") is None


def _at(deployment: Deployment, path: str) -> Any:
    try:
        return deployment.at(path)
    except KeyError:  # what is imported is exported only with the value of this parameter
        return None


@pytest.mark.parametrize("name", DECLARED)
def test_parameter_is_described_and_checked_before_anything_is_made(name: str) -> None:
    info = DECLARED[name]
    assert len(info["Description"]) > 10
    if info["Type"] == "Number":
        assert {"MinValue", "MaxValue"} <= set(info) or "AllowedValues" in info
    elif info["Type"] == "String":
        assert "AllowedPattern" in info or "AllowedValues" in info
    for value in [EFFECTS[name].value, *([str(info["Default"])] if "Default" in info else [])]:
        assert re.search(info.get("AllowedPattern", ""), value), value
        assert value in map(str, info.get("AllowedValues", [value])), value
        assert info["Type"] != "Number" or info.get("MinValue", 0) <= int(value) <= info.get("MaxValue", 1e6), value


def test_what_the_runbook_tells_to_change_is_a_parameter() -> None:
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    advice = "".join(re.findall(r"(?ms)^\*\*Do\.\*\*.*?(?=^$|\Z)", runbook))
    named = set(re.findall(r"`(MEDIA_\w+)`", advice))
    by_parameter = {path.rsplit("/", 1)[-1] for effect in EFFECTS.values() for path in effect.at}
    assert named <= by_parameter
    others = {"AccessDenied"}
    assert set(re.findall(r"`([A-Z][a-z]+[A-Z]\w*)`", advice)) - others <= set(DECLARED)


@pytest.mark.parametrize("container", [CONSUMER, API])
def test_default_of_a_parameter_is_that_of_its_setting(container: str) -> None:
    deployment = Deployment(BASE, ACCOUNT, REGION)
    fields = {variable(name): info for name, info in Settings.model_fields.items()}
    # ECS kills a task later than anybody else does, and the load balancer needs the time.
    longer_on_ecs = {"MEDIA_DRAIN_TIMEOUT", "MEDIA_API_DRAIN_DELAY"}
    settings = [e for e in deployment.at(f"{container}/Environment") if e["Name"] not in longer_on_ecs]
    by_parameter = [e for e in settings if e["Value"] in {str(i.get("Default")) for i in DECLARED.values()} - {""}]
    assert len(by_parameter) > 10
    for entry in by_parameter:
        if not fields[entry["Name"]].is_required():
            assert entry["Value"] == str(fields[entry["Name"]].default), entry["Name"]


async def test_emulator_makes_of_all_values_together_what_the_table_says(
    account: Emulator, account_clients: Any
) -> None:
    # An existing bucket excludes a new one's name. The network and the web ACL have to exist in the emulator.
    own = {"Environment", "ExistingBucketName", "WebAclArn"}
    own |= {"VpcId", "PublicSubnets", "PrivateSubnets", "RedisSecurityGroup", "PrometheusSecurityGroup"}
    given = {name: effect.value for name, effect in EFFECTS.items() if name not in own}
    given |= {"MaxConsumers": given["MinConsumers"]}
    environment = f"t{uuid4().hex[:8]}"
    given |= {name: f"{environment}-{given[name]}" for name in ("BucketName", "QuarantineBucketName")}
    outputs = (await create_stacks(account.url, environment, given)).outputs
    deployment = Deployment({**REQUIRED, **given, "Environment": environment}, ACCOUNT, REGION)
    ecs = await account_clients("ecs")
    for kind in ("consumer", "api"):
        family = f"{environment}-media-{kind}"
        made = (await ecs.describe_task_definition(taskDefinition=family))["taskDefinition"]
        task = f"{kind.capitalize()}Task"
        assert (made["cpu"], made["memory"]) == (deployment.at(f"{task}/Cpu"), deployment.at(f"{task}/Memory"))
        for container in made["containerDefinitions"]:
            expected = deployment.at(f"{task}/ContainerDefinitions/{container['name']}")
            assert container.get("command", []) == expected.get("Command", [])
            variables = {entry["name"]: entry["value"] for entry in container.get("environment", [])}
            wanted = {entry["Name"]: entry["Value"] for entry in expected.get("Environment", [])}
            assert variables == {**wanted, **{k: v for k, v in variables.items() if k == "CLOUDFRONT_KEY_PAIR_ID"}}
    services = (await ecs.describe_services(cluster=outputs["ClusterName"], services=["consumer"]))["services"]
    assert [service["desiredCount"] for service in services] == [4]


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        ("media", {"BucketName": "one", "ExistingBucketName": "other"}),
        ("media", {"Environment": "Prod"}),
        ("media", {"ConsumerRoleName": "a b"}),
    ],
)
async def test_wrong_parameters_are_refused_before_anything_is_made(
    clients: Any, part: str, wrong: dict[str, str]
) -> None:
    cloudformation = await clients("cloudformation")
    given = {"Environment": "refused", "CorsOrigins": "https://app.example", "RequireTls": "false", **wrong}
    parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()]
    with pytest.raises(cloudformation.exceptions.ClientError, match="ValidationError"):
        await cloudformation.create_stack(
            StackName="refused", TemplateBody=json.dumps(template(part)), Parameters=parameters
        )
