"""The HTTP edge: health, metrics, proxies, browsers, malformed requests, the page."""

import asyncio
import json
import socket
from typing import Any

import pytest
from botocore.exceptions import ClientError

from api.server.public_origin import PROXIED
from media.asset_store import database
from media.events.asset_event import SCHEMA_PATH
from media.network import readiness
from tests.conftest import Database
from tests.integration.api.conftest import MEDIA, RunningApi, bearer

ORIGIN = "http://localhost:8005"


async def test_health_response(shared_api: RunningApi) -> None:
    answer = await shared_api.http.get("/health")
    assert await answer.text() == '{"status":"ok","service":"media"}'
    assert (await shared_api.http.get("/livez")).status == 200
    assert (await shared_api.http.get("/readyz")).status == 200
    assert (await shared_api.http.head("/health")).status == 200


async def test_not_ready_without_postgres(start_api: Any) -> None:
    async with start_api(database_url="postgresql://nobody@127.0.0.1:9/none") as api:
        assert (await api.http.get("/livez")).status == 200
        answer = await api.http.get("/readyz")
        assert answer.status == 503
        status, problem = await api.call("GET", f"{MEDIA}/assets")
        assert (status, problem["code"]) == (503, "unavailable")


async def test_ready_asks_s3_for_each_right_that_uploads_need(start_api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "REMEMBERED", 0.0)
    asked: list[str] = []
    refused = ""

    def watch(event_name: str, **_: Any) -> None:
        asked.append(event_name.rpartition(".")[2])
        if asked[-1] == refused:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, refused)

    async with start_api() as api:
        api.service.parts._client.meta.events.register("before-send.s3", watch)
        assert [(await api.http.get("/readyz")).status for _ in range(3)] == [200] * 3
        assert sorted(asked) == ["CompleteMultipartUpload", "GetBucketVersioning", "ListObjectVersions"]
        refused = "CompleteMultipartUpload"
        assert 503 in [(await api.http.get("/readyz")).status for _ in range(3)], "presigned URLs would be refused"


async def test_refused_password_makes_the_api_neither_ready_nor_alive(
    start_api: Any, postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "HOPELESS", 0.000_001)
    wrong = postgres.dsn.replace("@", "x@", 1)
    async with start_api(database_url=wrong) as api:
        answer = await api.http.get("/readyz")
        assert (answer.status, (await answer.json(content_type=None))["detail"]) == (503, "Postgres takes no writes")
        await api.call("GET", f"{MEDIA}/assets")
        answer = await api.http.get("/livez")
        assert answer.status == 503
        assert "refused our user or password" in (await answer.json(content_type=None))["detail"]


async def test_metrics_name_routes_not_assets(shared_api: RunningApi) -> None:
    slot = await shared_api.announce()
    await shared_api.call("GET", f"{MEDIA}/assets/{slot['asset_id']}")
    text = await (await shared_api.http.get("/metrics")).text()
    assert 'route="/api/v1/media/assets/{asset_id}"' in text
    assert slot["asset_id"] not in text


METRICS = (
    "/metrics",
    "/%6detrics",
    "/m%65trics",
    "/metrics?x=1",
    "http://inside/metrics",
    "/%2fmetrics",
    "//metrics",
    "/./metrics",
    "/x/../metrics",
    "/metrics/",
    "/metrics;x",
    "/metrics%00",
    "/METRICS",
    "/%2e/metrics",
)


@pytest.mark.parametrize("header", PROXIED)
async def test_metrics_are_not_found_through_a_proxy_in_any_spelling(shared_api: RunningApi, header: str) -> None:
    for path in METRICS:
        for method in ("GET", "HEAD"):
            head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{header.lower()}: 203.0.113.7\r\nConnection: close\r\n\r\n"
            answer = await raw(shared_api, head.encode())
            assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400")), (path, answer[:200])
            assert b"media_" not in answer


async def test_proxy_that_adds_no_header_is_known_by_its_old_http(start_api: Any) -> None:
    """nginx's `proxy_pass` alone: HTTP/1.0 from this machine, to the address that it was told."""
    async with start_api(page=True, page_token="a token") as api:
        for path in ("/metrics", "/dev/token"):
            answer = await raw(api, f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
            assert answer.startswith(b"HTTP/1.0 404"), answer[:200]


async def test_metrics_are_served_to_direct_requests_in_any_spelling(shared_api: RunningApi) -> None:
    for path in ("/metrics", "/%6detrics"):
        answer = await raw(shared_api, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"media_" in answer


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/dev/token", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
        ("PUT", "/health", 405, "method_not_allowed"),
        ("GET", f"{MEDIA}/assets/not-an-id", 401, "unauthenticated"),
    ],
)
async def test_refusals_are_problems(shared_api: RunningApi, method: str, path: str, status: int, code: str) -> None:
    async with shared_api.http.request(method, path) as answer:
        assert answer.status == status
        assert answer.content_type == "application/problem+json"
        body = await answer.json(content_type=None)
        assert body["code"] == code
        assert body["request_id"] == answer.headers["X-Request-ID"]


async def test_well_formed_request_id_is_kept(shared_api: RunningApi) -> None:
    for given, kept in (("abcdef-123456", True), ("short", False), ("<script>alert(1)</script>", False)):
        answer = await shared_api.http.get("/health", headers={"X-Request-ID": given})
        assert (answer.headers["X-Request-ID"] == given) is kept


async def test_only_known_origins_may_call(shared_api: RunningApi) -> None:
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for origin, status in ((ORIGIN, 204), ("https://evil.example", 403), ("null", 403)):
        async with shared_api.http.options(f"{MEDIA}/upload", headers=asks | {"Origin": origin}) as answer:
            assert answer.status == status
            assert (answer.headers.get("Access-Control-Allow-Origin") == origin) is (status == 204)
            assert "Origin" in answer.headers["Vary"]
            assert "Access-Control-Allow-Credentials" not in answer.headers


async def test_errors_can_be_read_by_known_origins(shared_api: RunningApi) -> None:
    answer = await shared_api.http.get(f"{MEDIA}/assets", headers={"Origin": ORIGIN})
    assert answer.status == 401
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{}", "text/plain", 415),
        (b"", "application/json", 422),
        (b"[]", "application/json", 422),
        (b"nul\0", "application/json", 422),
        (b'"\xff\xfe"', "application/json", 422),
        (b"[" * 10_000, "application/json", 422),
        (b'{"original_filename": "\\ud800"}', "application/json", 422),
        (b" " * (64 * 1024 + 1), "application/json", 413),
    ],
)
async def test_malformed_bodies_are_refused(
    shared_api: RunningApi, body: bytes, content_type: str, status: int
) -> None:
    headers = bearer("doctor-1") | {"Content-Type": content_type}
    async with shared_api.http.post(f"{MEDIA}/upload", data=body, headers=headers) as answer:
        assert answer.status == status, await answer.text()


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "x", "gzip, gzip"])
@pytest.mark.parametrize("path", [f"{MEDIA}/upload", "/api/v1/internal/media/callback/image"])
async def test_compressed_bodies_are_refused(start_api: Any, path: str, coding: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer('doctor-1')['Authorization']}\r\n"
    head += f"Content-Type: application/json\r\nContent-Encoding: {coding}\r\nContent-Length: 4\r\n\r\n"
    async with start_api(callback_secret="c" * 32) as api:
        answer = await raw(api, head.encode() + b"zzzz")
    assert answer.startswith((b"HTTP/1.1 415", b"HTTP/1.0 400")), answer[:200]


@pytest.mark.parametrize(
    ("expected", "first"),
    [("100-continue", b"HTTP/1.1 100 "), ("100-Continue", b"HTTP/1.1 100 "), ("x", b"HTTP/1.1 201 ")],
)
async def test_expect_header(shared_api: RunningApi, expected: str, first: bytes) -> None:
    body = b'{"asset_type":"image","content_type":"image/png","original_filename":"a.png"}'
    head = f"POST {MEDIA}/upload HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer('doctor-1')['Authorization']}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nExpect: {expected}\r\n"
    answer = await raw(shared_api, f"{head}Connection: close\r\n\r\n".encode() + body)
    assert answer.startswith(first)
    assert b"HTTP/1.1 201 " in answer


@pytest.mark.parametrize(
    "request_text",
    [
        b"GET /sesame HTTP/9.9\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"sesame" * 2000 + b"\r\n\r\n",
        b"POST /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nzzz",
    ],
)
async def test_malformed_http_is_answered_with_a_problem(shared_api: RunningApi, request_text: bytes) -> None:
    head, _, body = (await raw(shared_api, request_text)).partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == b"400"
    assert b"application/problem+json" in head
    assert json.loads(body)["code"] == "not_http"
    assert b"sesame" not in head + body


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
async def test_unchanged_description_is_answered_with_304(shared_api: RunningApi, path: str) -> None:
    first = await shared_api.http.get(path)
    again = await shared_api.http.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (first.status, again.status, await again.read()) == (200, 304, b"")


NAMES = ("Authorization", "X-Request-ID", "Idempotency-Key", "If-None-Match", "X-Amzn-Trace-Id", "Host", "Origin")
VALUES = ("\xff\xfe", "'\"<>\\", "a" * 8000, "%00", "\xe9" * 50, "[::1", "a b:99999", "x:0", "")


@pytest.mark.parametrize("name", NAMES)
async def test_malformed_headers_cause_no_5xx(shared_api: RunningApi, name: str) -> None:
    """Send raw bytes: a well-behaved client would refuse to."""
    asset_id = (await shared_api.announce())["asset_id"]
    body = b'{"asset_type":"image","content_type":"image/png","original_filename":"a.png"}'
    auth = "" if name == "Authorization" else f"Authorization: {bearer('doctor-1')['Authorization']}\r\n"
    host = "" if name == "Host" else "Host: localhost\r\n"
    for value in VALUES:
        for line, sent in (
            (f"GET {MEDIA}/assets/{asset_id}", b""),
            (f"GET {MEDIA}/assets/{asset_id}/url", b""),
            (f"POST {MEDIA}/upload", body),
        ):
            head = f"{line} HTTP/1.1\r\n{host}{auth}{name}: {value}\r\nContent-Type: application/json\r\n"
            end = f"Content-Length: {len(sent)}\r\nConnection: close\r\n\r\n"
            answer = await raw(shared_api, (head + end).encode("latin-1") + sent)
            assert answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4", b"HTTP/1.0 4")), (line, value, answer[:300])


async def raw(api: RunningApi, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(api.http.host, api.http.port, family=socket.AF_INET)
    try:
        async with asyncio.timeout(10):
            writer.write(request)
            return await reader.read()
    finally:
        writer.close()


async def test_malformed_paths_cause_no_5xx(shared_api: RunningApi) -> None:
    headers = f"Host: x\r\nAuthorization: {bearer('d')['Authorization']}\r\nConnection: close\r\n"
    for odd in ("%00", "..%2f..%2fetc", "%ff", "a" * 4000, "{}", "%c0%af", "'--", "%0d%0aX-Evil:%201"):
        for tail in ("", "/url", f"/hls/{odd}?token={odd}"):
            request = f"GET {MEDIA}/assets/{odd}{tail} HTTP/1.1\r\n{headers}\r\n"
            answer = await raw(shared_api, request.encode())
            assert answer[9:10] == b"4", (odd, tail, answer[:300])


async def test_the_page_is_served_with_a_strict_policy(start_api: Any) -> None:
    async with start_api(page=True) as api:
        answer = await api.http.get("/")
        assert answer.status == 200
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert (await api.http.get("/static/js/api.js")).content_type == "text/javascript"
        for path in ("../app.py", "%2e%2e/app.py", "..%2fapp.py", "js", "", "js/%00"):
            assert b" 404 " in await raw(
                api, f"GET /static/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
            )


@pytest.mark.parametrize("path", ["/static/js/main.js", "/openapi.json", "/docs", SCHEMA_PATH])
async def test_static_files_are_compressed_and_each_form_has_its_etag(start_api: Any, path: str) -> None:
    async with start_api(page=True) as api:
        forms = {}
        for coding in ("gzip, br", "identity", "gzip;q=0"):
            answer = await api.http.get(path, headers={"Accept-Encoding": coding})
            forms[coding] = (answer.headers["ETag"], answer.headers.get("Content-Encoding"), await answer.text())
            assert "Accept-Encoding" in answer.headers["Vary"]
            given = {"Accept-Encoding": coding, "If-None-Match": answer.headers["ETag"]}
            again = await api.http.get(path, headers=given)
            assert (again.status, again.headers["Vary"]) == (304, answer.headers["Vary"])
        assert [coding for _, coding, _ in forms.values()] == ["gzip", None, None]
        assert len({text for *_, text in forms.values()}) == 1
        assert len({etag for etag, *_ in forms.values()}) == 2


async def test_player_of_films_is_small_on_the_wire(start_api: Any) -> None:
    async with start_api(page=True) as api:
        answer = await api.http.get("/static/vendor/hls.min.js", headers={"Accept-Encoding": "gzip"})
        assert answer.content_length is not None
        assert answer.content_length < 250_000


async def test_token_of_the_page_is_given_to_nobody_who_comes_through_a_proxy(start_api: Any) -> None:
    async with start_api(page=True, page_token="a token") as api:
        assert (await api.http.get("/dev/token")).status == 200
        for header in PROXIED:
            assert (await api.http.get("/dev/token", headers={header: "203.0.113.7"})).status == 404, header
