"""Our signature of an SQS call equals botocore's."""

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from media.aws.sqs_signature import LeanSigV4Auth

BODY = b'{"QueueUrl": "https://sqs.eu-west-1.amazonaws.com/123456789012/uploads"}'


def _request(url: str, **headers: str) -> AWSRequest:
    headers |= {"X-Amz-Target": "AmazonSQS.ReceiveMessage", "Content-Type": "application/x-amz-json-1.0"}
    request = AWSRequest(method="POST", url=url, data=BODY, headers=headers)
    request.context = {}
    return request


def _as_botocore_signs(request: AWSRequest, credentials: Credentials) -> str:
    """Return botocore's signature of the headers that the request signs, at the request's date."""
    listed = str(request.headers["Authorization"]).split("SignedHeaders=")[1].split(",")[0].split(";")
    headers = {name: request.headers[name] for name in listed if name != "host"}
    same = AWSRequest(method="POST", url=request.url, data=BODY, headers=headers)
    same.context = {"timestamp": request.headers["X-Amz-Date"]}
    auth = SigV4Auth(credentials, "sqs", "eu-west-1")
    return str(auth.signature(auth.string_to_sign(same, auth.canonical_request(same)), same))


@pytest.mark.parametrize("token", [None, "a session's token"])
@pytest.mark.parametrize(
    "url",
    ["https://sqs.eu-west-1.amazonaws.com/", "https://sqs.eu-west-1.amazonaws.com:443", "http://127.0.0.1:4566/"],
)
def test_the_signature_is_the_one_that_botocore_computes(url: str, token: str | None) -> None:
    credentials = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token)
    request = _request(url, **{"X-Amz-Meta-Odd": "  two   spaces "})
    for _ in range(2):  # a second attempt replaces the headers of the first
        LeanSigV4Auth(credentials, "sqs", "eu-west-1").add_auth(request)
    assert [name.lower() for name in request.headers].count("authorization") == 1
    assert request.headers["X-Amz-Security-Token"] == token
    assert str(request.headers["Authorization"]).endswith(_as_botocore_signs(request, credentials))


@pytest.mark.parametrize("url", ["https://sqs.example/path", "https://sqs.example/?a=b", "http://[::1]:4566/"])
def test_other_requests_are_signed_by_botocore(url: str) -> None:
    request = _request(url)
    LeanSigV4Auth(Credentials("AKIDEXAMPLE", "secret"), "sqs", "eu-west-1").add_auth(request)
    assert "content-type;host;x-amz-date;x-amz-target" in request.headers["Authorization"]
