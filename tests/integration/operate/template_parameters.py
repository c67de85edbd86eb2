"""For each parameter of the templates, a value other than its default, and what it must change."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.local.emulator import ACCOUNT, REGION
from tests.integration.operate.created_stacks import PUBLIC_KEY

KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0123-abcd"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:alarms"
QUEUE = f"arn:aws:mediaconvert:{REGION}:{ACCOUNT}:queues/films"
REGIONAL_ACL = f"arn:aws:wafv2:{REGION}:{ACCOUNT}:regional/webacl/x/1"
GLOBAL_ACL = f"arn:aws:wafv2:us-east-1:{ACCOUNT}:global/webacl/x/1"
CERTIFICATE = f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/z"
DATABASE_SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:other-database"
API_SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:other-api"
API_CERTIFICATE = f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/w"
DISTRIBUTION = f"arn:aws:cloudfront::{ACCOUNT}:distribution/ABC"
SETTINGS_FILE = "arn:aws:s3:::settings/media/1.env"
WITH_TOPIC = {"AlarmTopicArn": TOPIC}
WITH_KEY = {"CloudFrontPublicKey": PUBLIC_KEY}
WITH_DOMAIN = {"CloudFrontDomain": "cdn.docfliq.example"}
ALIAS = {"CloudFrontAlias": "cdn.docfliq.example", "CloudFrontCertificateArn": CERTIFICATE}

CONSUMER = "ConsumerTask/ContainerDefinitions/consumer"
API = "ApiTask/ContainerDefinitions/api"
CLAMD = "ConsumerTask/ContainerDefinitions/clamd"
MIRROR = "MirrorTask/ContainerDefinitions/signatures"
POLICY = "MediaBucketPolicy/PolicyDocument/Statement"
DISTRIBUTION_CONFIG = "Distribution/DistributionConfig"


@dataclass(frozen=True, slots=True)
class Effect:
    """What a value of a parameter, with those of `others`, puts at paths of the resources (`Deployment.at`)."""

    value: str
    at: Mapping[str, Any]
    others: Mapping[str, str] = field(default_factory=dict)


def _setting(value: str, variable: str, *containers: str) -> Effect:
    return Effect(value, {f"{container}/Environment/{variable}": value for container in containers or (CONSUMER,)})


def _role(name: str, role: str, *more: str) -> Effect:
    arn = f"arn:aws:iam::{ACCOUNT}:role/{name}"
    return Effect(name, {f"{role}/RoleName": name, **dict.fromkeys(more, arn)})


def _statement(role: str, policy: str, sid: str, what: str = "Resource") -> str:
    return f"{role}/Policies/{policy}/PolicyDocument/Statement/{sid}/{what}"


EFFECTS: Mapping[str, Effect] = {
    # --- Required everywhere
    "Environment": Effect("staging", {"UploadsQueue/QueueName": "staging-media-uploads"}),
    "CorsOrigins": Effect(
        "https://a.example,https://b.example",
        {
            f"{API}/Environment/MEDIA_CORS_ORIGINS": "https://a.example,https://b.example",
            "MediaBucket/CorsConfiguration/CorsRules/browser/AllowedOrigins": [
                "https://a.example",
                "https://b.example",
            ],
        },
    ),
    # --- Buckets, queues and what they share
    "BucketName": Effect(
        "films", {"MediaBucket/BucketName": "films", f"{CONSUMER}/Environment/OUTPUT_BUCKET": "films"}
    ),
    "QuarantineBucketName": Effect(
        "jail", {"QuarantineBucket/BucketName": "jail", f"{CONSUMER}/Environment/MEDIA_QUARANTINE_BUCKET": "jail"}
    ),
    "ExistingBucketName": Effect(
        "platform",
        {
            "MediaBucket": None,
            "MediaBucketPolicy": None,
            f"{API}/Environment/OUTPUT_BUCKET": "platform",
            "TranscodeEventsRule/EventPattern/detail": {"userMetadata": {"bucket": ["platform"]}},
            _statement("ApiRole", "api", "PresignUploads"): "arn:aws:s3:::platform/uploads/*",
            _statement("ConsumerRole", "consumer", "ReadSignatures"): "arn:aws:s3:::platform/signatures/*",
            _statement("MirrorRole", "mirror", "ReplaceSignatures"): "arn:aws:s3:::platform/signatures/*",
            f"{CLAMD}/Environment/OUTPUT_BUCKET": "platform",
            f"{MIRROR}/Environment/OUTPUT_BUCKET": "platform",
        },
    ),
    "ConsumerRoleName": _role(
        "scanner", "ConsumerRole", f"{POLICY}/OnlyTheConsumerTags/Condition/ArnNotEquals/aws:PrincipalArn"
    ),
    "MediaConvertRoleName": _role("encoder", "MediaConvertRole", f"{CONSUMER}/Environment/MEDIACONVERT_ROLE_ARN"),
    "ApiRoleName": _role("front", "ApiRole", "ApiTask/TaskRoleArn"),
    "OperatorRoleName": _role("on-call", "OperatorRole", "OperatorTask/TaskRoleArn"),
    "KmsKeyArn": Effect(
        KEY,
        {
            "UploadsQueue/KmsMasterKeyId": KEY,
            "UploadsQueue/SqsManagedSseEnabled": None,
            "ConsumerLog/KmsKeyId": KEY,
            "MirrorLog/KmsKeyId": KEY,
            _statement("ApiRole", "api", "UseTheKey"): KEY,
            _statement("MirrorRole", "mirror", "UseTheKey"): KEY,
        },
    ),
    "S3LogBucket": Effect("logs", {"MediaBucket/LoggingConfiguration/DestinationBucketName": "logs"}),
    "RequestMetrics": Effect("false", {"MediaBucket/MetricsConfigurations": None}),
    "QuarantineDays": Effect("7", {"QuarantineBucket/LifecycleConfiguration/Rules/retention/ExpirationInDays": "7"}),
    "NoncurrentDays": Effect(
        "8",
        {
            "MediaBucket/LifecycleConfiguration/Rules/old-versions/NoncurrentVersionExpiration": {
                "NoncurrentDays": "8"
            },
        },
    ),
    "CloudFrontDistributionArn": Effect(
        DISTRIBUTION,
        {
            f"{POLICY}/CloudFrontReadsRenditions/Condition": {"StringEquals": {"aws:SourceArn": DISTRIBUTION}},
            _statement("ConsumerRole", "consumer", "ForgetInCaches"): DISTRIBUTION,
            f"{CONSUMER}/Environment/CLOUDFRONT_DISTRIBUTION_ID": "ABC",
        },
    ),
    "RequireTls": Effect("false", {f"{POLICY}/TlsOnly": None, "QueuesTlsPolicy": None}),
    "EventsQueue": Effect("true", {"EventsRule/EventBusName": "prod-media-events"}, {"RequireTls": "false"}),
    # --- Roles and secrets
    "DatabaseSecretArn": Effect(
        DATABASE_SECRET, {f"{CONSUMER}/Secrets/MEDIA_DATABASE_URL/ValueFrom": f"{DATABASE_SECRET}:MEDIA_DATABASE_URL::"}
    ),
    "ApiSecretArn": Effect(
        API_SECRET, {f"{API}/Secrets/MEDIA_CALLBACK_SECRET/ValueFrom": f"{API_SECRET}:MEDIA_CALLBACK_SECRET::"}
    ),
    "RecordingsBucket": Effect(
        "webinars",
        {
            f"{CONSUMER}/Environment/MEDIA_RECORDING_BUCKETS": "webinars",
            _statement("ConsumerRole", "consumer", "ReadRecordings"): "arn:aws:s3:::webinars/*",
        },
    ),
    "Transcoder": Effect(
        "ffmpeg",
        {f"{CONSUMER}/Environment/MEDIA_TRANSCODER": "ffmpeg"},
    ),
    "MediaConvertQueueArn": Effect(
        QUEUE,
        {
            f"{CONSUMER}/Environment/MEDIA_MEDIACONVERT_QUEUE": QUEUE,
            _statement("ConsumerRole", "consumer", "SubmitJobs"): QUEUE,
        },
    ),
    "SettingsFileArn": Effect(
        SETTINGS_FILE,
        {
            f"{CONSUMER}/EnvironmentFiles": [{"Type": "s3", "Value": SETTINGS_FILE}],
            f"{API}/EnvironmentFiles": [{"Type": "s3", "Value": SETTINGS_FILE}],
            _statement("ApiExecutionRole", "execution", "ReadSettings"): SETTINGS_FILE,
            _statement("ApiExecutionRole", "execution", "FindSettings"): "arn:aws:s3:::settings",
        },
    ),
    # --- The network's edge
    "VpcId": Effect(
        "vpc-1",
        {
            "ApiTargets/VpcId": "vpc-1",
            "ConsumerSecurityGroup/VpcId": "vpc-1",
            "MirrorSecurityGroup/VpcId": "vpc-1",
        },
    ),
    "PublicSubnets": Effect("subnet-1,subnet-2", {"LoadBalancer/Subnets": ["subnet-1", "subnet-2"]}),
    "CertificateArn": Effect(API_CERTIFICATE, {"Listener/Certificates": [{"CertificateArn": API_CERTIFICATE}]}),
    "CloudFrontPublicKey": Effect(PUBLIC_KEY, {"PublicKey/PublicKeyConfig/EncodedKey": PUBLIC_KEY}),
    "SecondCloudFrontPublicKey": Effect(PUBLIC_KEY, {"SecondPublicKey/PublicKeyConfig/EncodedKey": PUBLIC_KEY}),
    "CloudFrontAlias": Effect(
        ALIAS["CloudFrontAlias"], {f"{DISTRIBUTION_CONFIG}/Aliases": [ALIAS["CloudFrontAlias"]]}, {**WITH_KEY, **ALIAS}
    ),
    "CloudFrontCertificateArn": Effect(
        CERTIFICATE,
        {f"{DISTRIBUTION_CONFIG}/ViewerCertificate/AcmCertificateArn": CERTIFICATE},
        {**WITH_KEY, **ALIAS},
    ),
    "CloudFrontLogBucket": Effect("logs", {f"{DISTRIBUTION_CONFIG}/Logging/Bucket": "logs.s3.amazonaws.com"}, WITH_KEY),
    "CloudFrontWebAclArn": Effect(GLOBAL_ACL, {f"{DISTRIBUTION_CONFIG}/WebACLId": GLOBAL_ACL}, WITH_KEY),
    "CloudFrontPriceClass": Effect("PriceClass_100", {f"{DISTRIBUTION_CONFIG}/PriceClass": "PriceClass_100"}, WITH_KEY),
    "RedisSecurityGroup": Effect("sg-1", {"RedisIngress/GroupId": "sg-1"}),
    "PrometheusSecurityGroup": Effect(
        "sg-2", {"ConsumerSecurityGroup/SecurityGroupIngress/Prometheus/SourceSecurityGroupId": "sg-2"}
    ),
    "ClientCidr": Effect("10.0.0.0/8", {"LoadBalancerSecurityGroup/SecurityGroupIngress/HTTPS/CidrIp": "10.0.0.0/8"}),
    "DeletionProtection": Effect("false", {"LoadBalancer/LoadBalancerAttributes/deletion_protection.enabled": "false"}),
    "LoadBalancerLogBucket": Effect(
        "logs",
        {
            "LoadBalancer/LoadBalancerAttributes/access_logs.s3.enabled": "true",
            "LoadBalancer/LoadBalancerAttributes/access_logs.s3.bucket": "logs",
        },
    ),
    "WebAclArn": Effect(REGIONAL_ACL, {"WebAcl/WebACLArn": REGIONAL_ACL}),
    # --- The services
    "PrivateSubnets": Effect(
        "subnet-3,subnet-4",
        {
            "ApiService/NetworkConfiguration/AwsvpcConfiguration/Subnets": ["subnet-3", "subnet-4"],
            "MirrorSchedule/Target/EcsParameters/NetworkConfiguration/AwsvpcConfiguration/Subnets": [
                "subnet-3",
                "subnet-4",
            ],
        },
    ),
    "ServiceImage": Effect("r/media:2", {f"{CONSUMER}/Image": "r/media:2", f"{API}/Image": "r/media:2"}),
    "ScannerImage": Effect("r/scan:2", {f"{CLAMD}/Image": "r/scan:2", f"{MIRROR}/Image": "r/scan:2"}),
    "SharedRateLimits": Effect(
        "true", {f"{API}/Secrets/REDIS_URL/ValueFrom": f"{API_SECRET}:REDIS_URL::"}, {"ApiSecretArn": API_SECRET}
    ),
    "JwksUrl": _setting("https://id.example/keys", "MEDIA_JWT_JWKS_URL", API),
    "JwtIssuer": _setting("https://id.example", "MEDIA_JWT_ISSUER", API),
    "JwtAudience": _setting("films", "MEDIA_JWT_AUDIENCE", API),
    "PublicUrl": _setting("https://media.example", "MEDIA_PUBLIC_URL", API),
    "CloudFrontDomain": Effect(
        "cdn.docfliq.example",
        {
            f"{API}/Environment/CLOUDFRONT_DOMAIN": "cdn.docfliq.example",
            f"{API}/Environment/CLOUDFRONT_KEY_PAIR_ID": "PublicKey",
        },
        WITH_KEY,
    ),
    "CloudFrontSigningKey": Effect(
        "second",
        {
            f"{API}/Environment/CLOUDFRONT_KEY_PAIR_ID": "SecondPublicKey",
            f"{API}/Secrets/CLOUDFRONT_PRIVATE_KEY/ValueFrom": f"{API_SECRET}:CLOUDFRONT_PRIVATE_KEY_SECOND::",
        },
        {"SecondCloudFrontPublicKey": PUBLIC_KEY, "ApiSecretArn": API_SECRET, **WITH_DOMAIN},
    ),
    "ConsumerCpu": Effect("4096", {"ConsumerTask/Cpu": "4096"}),
    "ConsumerMemory": Effect("16384", {"ConsumerTask/Memory": "16384"}),
    "ConsumerProcessMemory": Effect("9216", {f"{CONSUMER}/Memory": "9216"}),
    "ScannerMemory": Effect("6144", {f"{CLAMD}/Memory": "6144"}),
    "ConsumerDisk": Effect("100", {"ConsumerTask/EphemeralStorage/SizeInGiB": "100"}),
    "ApiCpu": Effect("1024", {"ApiTask/Cpu": "1024"}),
    "ApiMemory": Effect("2048", {"ApiTask/Memory": "2048"}),
    # A fixed fleet of four is four; one that scales has no count that a deployment would set.
    "MinConsumers": Effect("4", {"ConsumerService/DesiredCount": "4", "ConsumerScaling": None}, {"MaxConsumers": "4"}),
    "MaxConsumers": Effect("20", {"ConsumerService/DesiredCount": None, "ConsumerScaling/MaxCapacity": "20"}),
    "BacklogPerTask": Effect(
        "30", {"ConsumerScalingPolicy/TargetTrackingScalingPolicyConfiguration/TargetValue": "30"}
    ),
    "ApiTasks": Effect("3", {"ApiService/DesiredCount": "3", "ApiScaling": None}, {"MaxApiTasks": "3"}),
    "MaxApiTasks": Effect("6", {"ApiService/DesiredCount": None, "ApiScaling/MaxCapacity": "6"}),
    "ApiCpuTarget": Effect(
        "70",
        {"ApiScalingPolicy/TargetTrackingScalingPolicyConfiguration/TargetValue": "70"},
        {"MaxApiTasks": "6"},
    ),
    "UnscannableVideo": _setting("reencode", "MEDIA_UNSCANNABLE_VIDEO", CONSUMER, API),
    "Concurrency": _setting("20", "MEDIA_CONCURRENCY"),
    "VisibilityTimeout": _setting("120", "MEDIA_VISIBILITY_TIMEOUT"),
    "MaxAttempts": _setting("4", "MEDIA_MAX_ATTEMPTS"),
    "ScanSpoolBytes": _setting("17179869184", "MEDIA_SCAN_SPOOL_BYTES"),
    "ScanMaxBytes": _setting("1048576000", "MEDIA_SCAN_MAX_BYTES", CONSUMER, API),
    "ImageWorkers": _setting("4", "MEDIA_IMAGE_WORKERS"),
    "ImageBudget": _setting("4294967296", "MEDIA_IMAGE_BUDGET"),
    "FfmpegJobs": _setting("2", "MEDIA_FFMPEG_JOBS"),
    "MaxDuration": _setting("3600", "MEDIA_MAX_DURATION"),
    "ImageMaxBytes": _setting("10485760", "MEDIA_IMAGE_MAX_BYTES", CONSUMER, API),
    "DocumentMaxBytes": _setting("10485761", "MEDIA_DOCUMENT_MAX_BYTES", CONSUMER, API),
    "AudioMaxBytes": _setting("10485762", "MEDIA_AUDIO_MAX_BYTES", CONSUMER, API),
    "VideoMaxBytes": _setting("10485763", "MEDIA_VIDEO_MAX_BYTES", CONSUMER, API),
    "ReadsPerMinute": _setting("100", "MEDIA_RATE_LIMIT_READS", API),
    "WritesPerMinute": _setting("101", "MEDIA_RATE_LIMIT_WRITES", API),
    "UrlsPerMinute": _setting("102", "MEDIA_RATE_LIMIT_URLS", API),
    "StreamsPerMinute": _setting("103", "MEDIA_RATE_LIMIT_STREAMS", API),
    "LogLevel": _setting("debug", "MEDIA_LOG_LEVEL", CONSUMER, API),
    "LogRetentionDays": Effect(
        "90",
        {
            "ConsumerLog/RetentionInDays": "90",
            "ScannerLog/RetentionInDays": "90",
            "MirrorLog/RetentionInDays": "90",
        },
    ),
    "LogBuffer": Effect(
        "4m",
        {
            f"{API}/LogConfiguration/Options/max-buffer-size": "4m",
            f"{MIRROR}/LogConfiguration/Options/max-buffer-size": "4m",
        },
    ),
    # --- The scanner's signatures
    "SignaturesSchedule": Effect("rate(3 hours)", {"MirrorSchedule/ScheduleExpression": "rate(3 hours)"}),
    "SignaturesMirror": _setting("https://mirror.example", "MEDIA_SIGNATURES_MIRROR", MIRROR, CLAMD),
    "SignaturesCustom": _setting("https://s.example/own.hdb", "MEDIA_SIGNATURES_CUSTOM", MIRROR, CLAMD),
    "SignaturesMemory": Effect("4096", {"MirrorTask/Memory": "4096"}),
    # --- The alarms
    "AlarmTopicArn": Effect(TOPIC, {"NoApiAlarm/AlarmActions": [TOPIC], "NotPolleduploads/AlarmActions": [TOPIC]}),
    "NotifyOnOk": Effect("false", {"NoApiAlarm/OKActions": None, "NoApiAlarm/AlarmActions": [TOPIC]}, WITH_TOPIC),
    "RunbookUrl": Effect(
        "https://w.example/r", {"NoApiAlarm/AlarmDescription": "No API is healthy: https://w.example/r#mediaapidown"}
    ),
    "OldestMessageSeconds": Effect("900", {"OldestMessageimages/Threshold": "900"}),
    "TranscodesPerHour": Effect("50", {"TranscodesAlarm/Threshold": "50"}),
    "MonthlyBudget": Effect("400", {"Budget/Budget/BudgetLimit": {"Amount": "400", "Unit": "USD"}}, WITH_TOPIC),
}
"""By parameter. A parameter of a template that is not here fails a test."""
