"""All that a rehearsal does otherwise than an account, in words. `./run.sh rehearse` prints it; a test holds it."""

from collections.abc import Mapping

STAND_INS = (
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::Budgets::Budget",
    "AWS::CloudFront::KeyGroup",
    "AWS::CloudFront::PublicKey",
    "AWS::EC2::SecurityGroupIngress",
)
"""The types of resources that the emulator records without making them."""

ADDED = {
    "AWS_CA_BUNDLE": "the rehearsal's certificate authority, which signs for AWS, the API and the identity service",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": "the role's credentials, which ECS offers at a link-local address",
    "AWS_ENDPOINT_URL": "the emulator of AWS",
    "MEDIACONVERT_ENDPOINT": "the stand-in for MediaConvert",
    "SSL_CERT_FILE": "the same certificate authority",
}
"""Variables that every container gets beside those of its task definition."""

REPLACED = {
    "MEDIA_API_PORT": "a free port, since all tasks share one machine",
    "MEDIA_CLAMD": "the socket of one scanner, which serves all tasks, in a temporary folder",
    "MEDIA_CONSUMER_PORT": "a free port",
    "MEDIA_SIGNATURES_FOLDER": "the folder of a volume, see below",
}
"""Variables whose value of the task definition is not used."""

CORRECTED = {
    "emulator's CloudFormation": (
        "counts may be text or absent, containers are spelled as ECS's API spells them, a bus may have an archive",
        (
            "services.ecs._create_service",
            "services.ecs._update_service",
            "services.cloudformation.provisioners._normalize_container_defs",
        ),
    ),
    "emulator's IAM": (
        "batches are authorized by their single calls, a session is its role, a service names its source",
        (
            "core.iam_evaluator.enforce",
            "core.iam_evaluator.evaluate_trust_policy",
            "core.iam_evaluator._resolve_condition_key",
        ),
    ),
    "emulator's S3": (
        "a version obeys Range and response headers, a large object is sent in pieces",
        (
            "services.s3._get_object",
            "services.s3._read_body",
            "services.s3._version_body",
            "app.app",
            "app._send_response",
        ),
    ),
    "emulator's process": (
        "it saves its state every few seconds, and listens on one port",
        ("app._handle_lifespan", "app._port_is_bindable"),
    ),
}
"""Where ministack does otherwise than an account, and is corrected: in words, and its functions that are replaced."""

VOLUMES = {"scratch": "/scratch", "signatures": "/var/lib/clamav", "spool": "/spool", "clamd": "/run/clamd"}
"""The volumes of the tasks, and where they are in a container."""
CONFIGURATION = "/etc/clamav"


def changes() -> Mapping[str, str]:
    """Return everything that is not as in an account: its name, and what stands in its place."""
    resources = dict.fromkeys(STAND_INS, "recorded, not made; cfn-lint checks its properties")
    variables = {**ADDED, **REPLACED}
    return {
        **resources,
        "AWS::CloudWatch::Alarm with Metrics": "recorded, not made: the emulator has no metric math",
        **{name: text for name, (text, _) in CORRECTED.items()},
        "AWS CLI": "the real one, which AWS_ENDPOINT_URL and AWS_CA_BUNDLE lead to the emulator",
        "database": "a Postgres of this machine, with the runbook's roles; its owner has applied the schema",
        "load balancer": "a proxy with the listener's rules, on a free port, which checks health every 0.2 s",
        "images": "this working tree, laid out as deploy/Dockerfile says, with this machine's Python and ffmpeg",
        "scanner": "one for all tasks (see MEDIA_CLAMD), whose health is a PING, as clamdscan may be missing",
        "schedule of the mirror": "its task runs once, before the other tasks",
        "users, limits, volumes": "all processes run as the caller, without limits of memory",
        "stop timeout": "as the task definition says, but a task that has drained is not waited for",
        **{f"variable {name}": text for name, text in sorted(variables.items())},
        "folder /app": "a folder below the state",
        **{f"folder {path}": "a temporary folder" for path in (CONFIGURATION, *VOLUMES.values())},
    }
