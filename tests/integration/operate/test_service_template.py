"""The templates can be created in an emulator, one after the other, and fit each other and the settings."""

import json
import re
from pathlib import PurePosixPath
from typing import Any
from uuid import uuid4

import pytest

from api.__main__ import SHUTDOWN_TIMEOUT
from deploy.local.emulator import Emulator
from deploy.local.rehearsal.templates import PARTS, TEMPLATES, template
from handlers.scan.signatures.settings import ScannerSettings
from media.settings import QUEUES, Settings, variable
from tests.integration.operate.created_stacks import create_stacks

ROOT = TEMPLATES.parents[1]
MAX_TEMPLATE = 51_200
"""Bytes of a template that CloudFormation takes in a request; a larger one has to be in a bucket first."""
ENGINE = 1400
"""MiB of one scanner with the official signatures: a little more than today's."""
SCANS = 1024
"""MiB for the files that twelve threads scan."""
RELOAD = 60
"""Seconds that a scanner may take to load: several times what it takes on a busy machine."""


async def test_stack_is_created_and_recreated(account: Emulator, account_clients: Any) -> None:
    environment = f"t{uuid4().hex[:8]}"
    first = await create_stacks(account.url, environment)
    again = await create_stacks(account.url, environment)
    made_once = {
        "AWS::S3::Bucket",
        "AWS::S3::BucketPolicy",
        "AWS::SQS::Queue",
        "AWS::SQS::QueuePolicy",
        "AWS::Events::Archive",
        "AWS::Events::EventBus",
        "AWS::Events::Rule",
    }
    assert again.resources == {kind: n for kind, n in first.resources.items() if kind not in made_once}
    outputs = again.outputs
    assert outputs["ConsumerRoleArn"].endswith(f":role/{environment}-media-consumer")
    ecs = await account_clients("ecs")
    services = (await ecs.describe_services(cluster=outputs["ClusterName"], services=["consumer", "api"]))["services"]
    # Autoscaling, which the emulator has not, raises the consumers to MinConsumers.
    assert {service["serviceName"]: service["desiredCount"] for service in services} == {"consumer": 1, "api": 2}
    assert ":distribution/" in outputs["CloudFrontDistributionArn"]
    alarms = (await (await account_clients("cloudwatch")).describe_alarms(AlarmNamePrefix=environment))["MetricAlarms"]
    assert len(alarms) == 2 * len(QUEUES) + 5


async def test_deployment_keeps_what_autoscaling_added_and_a_fixed_fleet_has_its_size(
    account: Emulator, account_clients: Any
) -> None:
    environment = f"t{uuid4().hex[:8]}"
    cluster = (await create_stacks(account.url, environment)).outputs["ClusterName"]
    ecs, cloudformation = await account_clients("ecs"), await account_clients("cloudformation")
    await ecs.update_service(cluster=cluster, service="consumer", desiredCount=5)

    async def count_after(**changes: str) -> int:
        parameters: list[Any] = [{"ParameterKey": key, "ParameterValue": value} for key, value in changes.items()]
        kept = set(template("service")["Parameters"]) - set(changes)
        parameters += [{"ParameterKey": key, "UsePreviousValue": True} for key in kept]
        name = f"docfliq-{environment}-service"
        await cloudformation.update_stack(
            StackName=name,
            TemplateBody=json.dumps(template("service")),
            Parameters=parameters,
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        await cloudformation.get_waiter("stack_update_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
        [service] = (await ecs.describe_services(cluster=cluster, services=["consumer"]))["services"]
        return int(service["desiredCount"])

    assert await count_after(ServiceImage="registry.example/media:2") == 5
    assert await count_after(MinConsumers="4", MaxConsumers="4") == 4


@pytest.mark.parametrize("part", PARTS)
def test_template_is_small_enough_to_be_deployed_without_a_bucket(part: str) -> None:
    assert (TEMPLATES / f"{part}.yaml").stat().st_size <= MAX_TEMPLATE


def test_parameters_of_the_same_name_are_declared_alike() -> None:
    declared: dict[str, Any] = {}
    for part in PARTS:
        for name, declaration in template(part)["Parameters"].items():
            assert declared.setdefault(name, declaration) == declaration, (part, name)


def test_what_is_imported_was_exported_by_an_earlier_template() -> None:
    exported: set[str] = set()
    for part in PARTS:
        loaded = template(part)
        imported = set(re.findall(r"'Fn::ImportValue': {'Fn::Sub': '([^']+)'}", str(loaded)))
        # One of two slots is imported, by the name of the slot.
        for slot in ("first", "second"):
            assert {name.replace("${CloudFrontSigningKey}", slot) for name in imported} <= exported, part
        exported |= {o["Export"]["Name"]["Fn::Sub"] for o in loaded.get("Outputs", {}).values() if "Export" in o}
    assert exported


@pytest.fixture(scope="module")
def resources() -> Any:
    """Return the resources of all templates together; no two have one of the same name."""
    return {name: part for file in PARTS for name, part in template(file)["Resources"].items()}


def containers(resources: Any) -> dict[str, Any]:
    plain = [part for name, part in resources.items() if not name.startswith("Fn::ForEach")]
    tasks = [part["Properties"] for part in plain if part["Type"] == "AWS::ECS::TaskDefinition"]
    return {container["Name"]: container for task in tasks for container in task["ContainerDefinitions"]}


def test_every_container_is_locked_down(resources: Any) -> None:
    for name, container in containers(resources).items():
        assert container["ReadonlyRootFilesystem"] is True, name
        assert container["User"] == "10001:10001", name
        # And no more: the program that InitProcessEnabled starts can be read, and so can its environment.
        assert container["LinuxParameters"] == {"Capabilities": {"Drop": ["ALL"]}}, name
        assert "PRIVATE_KEY" not in str(container.get("Environment", "")), name


def test_no_container_waits_for_its_log(resources: Any) -> None:
    for name, container in containers(resources).items():
        assert container["LogConfiguration"]["Options"]["mode"] == "non-blocking", name


def test_what_replaces_a_task_asks_only_whether_it_lives(resources: Any) -> None:
    # /readyz asks Postgres: its failover would replace every task.
    assert resources["ApiTargets"]["Properties"]["HealthCheckPath"] == "/livez"
    for name in ("consumer", "api"):
        assert containers(resources)[name]["HealthCheck"]["Command"][1:] == ["python", "/app/healthy.py", name]


@pytest.mark.parametrize("name", ["consumer", "api", "operator"])
def test_environment_matches_the_settings(resources: Any, name: str) -> None:
    container = containers(resources)[name]
    secrets = [entry["Fn::If"][1] if "Fn::If" in entry else entry for entry in container["Secrets"]]
    given = {entry["Name"] for entry in [*container["Environment"], *secrets]}
    known = {variable(field) for field in Settings.model_fields}
    required = {variable(field) for field, info in Settings.model_fields.items() if info.is_required()}
    assert given <= known
    assert required <= given


@pytest.mark.parametrize("task", ["ConsumerTask", "ApiTask"])
def test_a_service_starts_after_its_schema(resources: Any, task: str) -> None:
    found = {part["Name"]: part for part in resources[task]["Properties"]["ContainerDefinitions"]}
    (main,) = [part for part in found.values() if part["Name"] in {"consumer", "api"}]
    assert {"ContainerName": "schema", "Condition": "SUCCESS"} in main["DependsOn"]
    assert found["schema"]["Command"] == ["python", "-m", "media.schema", "ensure"]
    assert found["schema"]["Essential"] is False
    assert [entry["Name"] for entry in found["schema"]["Secrets"]] == ["MEDIA_DATABASE_URL"]


def test_drain_ends_before_the_stop_timeout_of_ecs(resources: Any) -> None:
    consumer = containers(resources)["consumer"]
    drain = next(entry["Value"] for entry in consumer["Environment"] if entry["Name"] == "MEDIA_DRAIN_TIMEOUT")
    assert float(drain) < consumer["StopTimeout"] <= 120


def test_api_serves_until_the_load_balancer_has_deregistered_it(resources: Any) -> None:
    api, targets = containers(resources)["api"], resources["ApiTargets"]["Properties"]["TargetGroupAttributes"]
    delay = next(float(entry["Value"]) for entry in api["Environment"] if entry["Name"] == "MEDIA_API_DRAIN_DELAY")
    deregistration = next(float(e["Value"]) for e in targets if e["Key"] == "deregistration_delay.timeout_seconds")
    assert deregistration <= delay
    assert delay + SHUTDOWN_TIMEOUT < api["StopTimeout"]


def test_consumer_cannot_receive_dead_letters_and_no_role_has_a_wildcard_action(resources: Any) -> None:
    for name, part in resources.items():
        if name.startswith("Fn::ForEach") or part["Type"] != "AWS::IAM::Role":
            continue
        for policy in part["Properties"]["Policies"]:
            for entry in policy["PolicyDocument"]["Statement"]:
                statement = entry["Fn::If"][1] if "Fn::If" in entry else entry
                actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
                assert not [action for action in actions if "*" in action], name
                # A registry's sign-in is the one action here that is on no resource.
                assert statement["Resource"] != "*" or actions == ["ecr:GetAuthorizationToken"], name
                if "sqs:ReceiveMessage" in actions and "dlq" in str(statement["Resource"]):
                    assert name in {"OperatorRole", "ApiRole"}


def test_cloudfront_has_three_paths_of_which_one_is_open(resources: Any) -> None:
    config = resources["Distribution"]["Properties"]["DistributionConfig"]
    behaviors = {behavior["PathPattern"]: behavior for behavior in config["CacheBehaviors"]}
    assert set(behaviors) == {"public/*", "processed/*"}
    assert "TrustedKeyGroups" not in behaviors["public/*"]
    assert behaviors["processed/*"]["TrustedKeyGroups"] == [{"Ref": "KeyGroup"}]
    assert config["DefaultCacheBehavior"]["TrustedKeyGroups"] == [{"Ref": "KeyGroup"}]
    # Signed paths refuse plain HTTP: a redirect would come after the signature was sent in the clear.
    policies = {b["ViewerProtocolPolicy"] for b in [config["DefaultCacheBehavior"], behaviors["processed/*"]]}
    assert policies == {"https-only"}
    assert behaviors["public/*"]["ViewerProtocolPolicy"] == "redirect-to-https"


def test_cloudfront_alias_requires_current_tls_and_logs_to_the_named_bucket(resources: Any) -> None:
    config = resources["Distribution"]["Properties"]["DistributionConfig"]
    condition, ours, _ = config["ViewerCertificate"]["Fn::If"]
    assert (condition, ours["MinimumProtocolVersion"]) == ("WithAlias", "TLSv1.2_2021")
    assert ours["AcmCertificateArn"] == {"Ref": "CloudFrontCertificateArn"}
    assert config["Aliases"]["Fn::If"][:2] == ["WithAlias", [{"Ref": "CloudFrontAlias"}]]
    assert config["Logging"]["Fn::If"][0] == "WithCloudFrontLogs"
    assert config["Logging"]["Fn::If"][1]["IncludeCookies"] is False


def test_rate_limits_are_shared_where_there_is_a_redis(resources: Any) -> None:
    secrets = [entry["Fn::If"] for entry in containers(resources)["api"]["Secrets"] if "Fn::If" in entry]
    counted = {"Name": "REDIS_URL", "ValueFrom": {"Fn::Sub": "${ApiSecretArn}:REDIS_URL::"}}
    assert ["CountsTogether", counted] in [entry[:2] for entry in secrets]
    ingress = resources["RedisIngress"]
    assert ingress["Condition"] == "OpensRedis"
    assert ingress["Properties"]["SourceSecurityGroupId"] == {"Ref": "ApiSecurityGroup"}


def test_scanner_has_memory_for_its_signatures_and_is_restarted(resources: Any) -> None:
    found = {part["Name"]: part for part in resources["ConsumerTask"]["Properties"]["ContainerDefinitions"]}
    defaults = {name: info.get("Default") for name, info in template("service")["Parameters"].items()}
    scanner = defaults["ScannerMemory"]
    assert defaults["ConsumerProcessMemory"] + scanner <= defaults["ConsumerMemory"]
    conf = (ROOT / "deploy" / "clamav" / "clamd.conf").read_text().splitlines()
    engines = 1 if "ConcurrentDatabaseReload no" in conf else 2
    assert scanner >= engines * ENGINE + SCANS
    assert found["clamd"]["RestartPolicy"]["Enabled"] is True
    health = found["clamd"]["HealthCheck"]
    assert health["Interval"] * health["Retries"] >= RELOAD
    # The mirror's task loads each new database, and then the whole set, before it is published.
    assert template("signatures")["Parameters"]["SignaturesMemory"]["Default"] >= 2 * ENGINE


def test_consumer_finds_clamd_in_a_volume_of_both(resources: Any) -> None:
    parts = resources["ConsumerTask"]["Properties"]["ContainerDefinitions"]
    given = {each["Name"]: each for part in parts if part["Name"] == "consumer" for each in part["Environment"]}
    conf = (ROOT / "deploy" / "clamav" / "clamd.conf").read_text().splitlines()
    [path] = [PurePosixPath(line.split()[1]) for line in conf if line.startswith("LocalSocket ")]
    mounted = {
        part["Name"]: point["SourceVolume"]
        for part in parts
        for point in part.get("MountPoints", ())
        if point["ContainerPath"] == str(path.parent)
    }
    assert given["MEDIA_CLAMD"]["Value"] == ScannerSettings.model_fields["clamd"].default == f"unix://{path}"
    assert mounted == {"consumer": "clamd", "clamd": "clamd"}
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    assert len(re.findall(f'(?m)^VOLUME .*"{path.parent}"', dockerfile)) == 2, "else it belongs to root"


@pytest.mark.parametrize("name", ["clamd", "signatures"])
def test_containers_of_the_scanner_have_settings_that_exist_and_start_its_program(resources: Any, name: str) -> None:
    container = containers(resources)[name]
    given = {entry["Name"] for entry in container["Environment"]}
    own = {f"MEDIA_{field.upper()}" for field in ScannerSettings.model_fields}
    known = {variable(field) for field in Settings.model_fields} | own
    assert {"OUTPUT_BUCKET", "AWS_REGION"} <= given <= known
    assert not container.get("Secrets")
    assert container["Command"][:3] == ["python", "-m", "handlers.scan.signatures"]


def test_alarm_counts_the_line_of_the_mirror(resources: Any) -> None:
    counted = resources["SignaturesChecked"]["Properties"]
    assert counted["LogGroupName"] == resources["MirrorLog"]["Properties"]["LogGroupName"]
    assert counted["FilterPattern"] == '{ $.event = "signatures.checked" }'


def test_missing_api_raises_an_alarm(resources: Any) -> None:
    down, errors = resources["NoApiAlarm"]["Properties"], resources["ServerErrorsAlarm"]["Properties"]
    assert (down["MetricName"], down["Threshold"]) == ("HealthyHostCount", 1)
    counted = {metric["MetricStat"]["Metric"]["MetricName"] for metric in errors["Metrics"] if "MetricStat" in metric}
    assert counted == {"HTTPCode_Target_5XX_Count", "HTTPCode_ELB_5XX_Count", "RequestCount"}


def test_key_is_rotated_in_the_other_slot_with_its_private_key(resources: Any) -> None:
    items = resources["KeyGroup"]["Properties"]["KeyGroupConfig"]["Items"]
    assert [entry["Fn::If"][:2] for entry in items] == [
        ["WithFirstKey", {"Ref": "PublicKey"}],
        ["WithSecondKey", {"Ref": "SecondPublicKey"}],
    ]
    configs = [resources[name]["Properties"]["PublicKeyConfig"] for name in ("PublicKey", "SecondPublicKey")]
    assert len({str(config["CallerReference"]) for config in configs}) == 2
    api = containers(resources)["api"]
    identity = next(entry["Value"] for entry in api["Environment"] if entry["Name"] == "CLOUDFRONT_KEY_PAIR_ID")
    optional = [entry["Fn::If"][1] for entry in api["Secrets"] if "Fn::If" in entry]
    private = next(entry["ValueFrom"] for entry in optional if entry["Name"] == "CLOUDFRONT_PRIVATE_KEY")
    imported = {"Fn::ImportValue": {"Fn::Sub": "${Environment}-media-cloudfront-key-${CloudFrontSigningKey}"}}
    assert identity["Fn::If"] == ["SignsForCloudFront", imported, ""]
    assert private["Fn::If"][0] == "SecondSigns"


@pytest.mark.parametrize(("group", "port"), [("ConsumerSecurityGroup", 8006), ("ApiSecurityGroup", 8005)])
def test_named_prometheus_may_read_the_metrics(resources: Any, group: str, port: int) -> None:
    rules = resources[group]["Properties"]["SecurityGroupIngress"]
    (watched,) = [rule["Fn::If"] for rule in rules if "Fn::If" in rule]
    assert watched[0] == "Watched"
    assert (watched[1]["FromPort"], watched[1]["ToPort"]) == (port, port)
    assert watched[1]["SourceSecurityGroupId"] == {"Ref": "PrometheusSecurityGroup"}
