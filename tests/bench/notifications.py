"""S3 event notifications, as S3 sends them to SQS, for our uploads."""

import json
from uuid import UUID

OWNERS = 20


def notification(number: int) -> str:
    """Build the message body for one uploaded photo."""
    owner = f"user-{number % OWNERS:02d}"
    asset_id = UUID(int=0x018F_0000_0000_7000_8000_0000_0000_0000 + number)
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": "2025-01-21T23:21:29.123Z",
        "eventName": "ObjectCreated:Put",
        "userIdentity": {"principalId": "AWS:AIDAEXAMPLEEXAMPLE22"},
        "requestParameters": {"sourceIPAddress": "203.0.113.7"},
        "responseElements": {
            "x-amz-request-id": "9FQ3ZKX1EXAMPLE0",
            "x-amz-id-2": "vlR7PnpV2Ce81l0PRw6jlUpck7Jo5ZsQjryTjKlc5aLWGVHPZLj5NeC6qMa0emYBDXOo6QBU0Wo=",
        },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "tf-s3-queue-20250121",
            "bucket": {
                "name": "media-uploads-example",
                "ownerIdentity": {"principalId": "A2XP2K6B42EXAMPLE"},
                "arn": "arn:aws:s3:::media-uploads-example",
            },
            "object": {
                "key": f"uploads/image/{owner}/{asset_id}/IMG_{number:04d}.jpg",
                "size": 2_345_678 + number,
                "eTag": f"{number:032x}",
                "versionId": f"wXz{number:029d}",
                "sequencer": f"0067902C80{number:08X}",
            },
        },
    }
    return json.dumps({"Records": [record]}, separators=(",", ":"))
