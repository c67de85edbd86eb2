"""An application load balancer: ends TLS, applies its listener's rules, and forwards to targets that are healthy."""

import asyncio
import itertools
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from fnmatch import fnmatchcase
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from deploy.local.ports import HOST
from deploy.local.rehearsal.account import Account
from deploy.local.rehearsal.certificates import Certificate

HTTPS = 443
CHECK_PAUSE = 0.2
"""Seconds between two health checks of a target: less than a real one's, so that a rehearsal is short."""
CHECK_TIMEOUT = aiohttp.ClientTimeout(total=2)
FORWARD_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5)
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length"}
)
"""Headers of one connection, which a proxy does not pass on."""


class LoadBalancer:
    """Round robin over the targets whose health check succeeds. `rules` and `check_path` are the account's own."""

    def __init__(self, http: aiohttp.ClientSession, rules: Sequence[Any], check_path: str) -> None:
        self.check_path = check_path
        self._http = http
        self._rules = [rule for rule in rules if not rule["IsDefault"]]
        self._targets: dict[int, bool] = {}
        self._turn: Iterator[int] = itertools.count()
        self._changed = asyncio.Condition()

    def add(self, port: int) -> None:
        """Register a target. It gets requests once it is healthy."""
        self._targets[port] = False

    def remove(self, port: int) -> None:
        """Deregister a target: it gets no new requests."""
        self._targets.pop(port, None)

    async def until_healthy(self, port: int) -> None:
        """Wait until a target's health check has succeeded."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._targets.get(port, False))

    async def watch(self) -> None:
        """Check all targets until canceled."""
        while True:
            for port in list(self._targets):
                await self._check(port)
            await asyncio.sleep(CHECK_PAUSE)

    async def _check(self, port: int) -> None:
        healthy = False
        with suppress(aiohttp.ClientError, TimeoutError):
            async with self._http.get(f"http://{HOST}:{port}{self.check_path}", timeout=CHECK_TIMEOUT) as answer:
                healthy = answer.status == web.HTTPOk.status_code
        async with self._changed:
            if port in self._targets:
                self._targets[port] = healthy
            self._changed.notify_all()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer by a rule, or with the answer of a target."""
        for rule in self._rules:
            if _applies(rule, request.path):
                fixed = rule["Actions"][0]["FixedResponseConfig"]
                return web.Response(
                    status=int(fixed["StatusCode"]), text=fixed["MessageBody"], content_type=fixed["ContentType"]
                )
        healthy = [port for port, is_healthy in self._targets.items() if is_healthy]
        if not healthy:
            raise web.HTTPServiceUnavailable
        return await self._forward(request, healthy[next(self._turn) % len(healthy)])

    async def _forward(self, request: web.Request, port: int) -> web.StreamResponse:
        url = URL(f"http://{HOST}:{port}{request.raw_path}", encoded=True)
        headers = CIMultiDict(_passed_on(request.headers.items()))
        headers["X-Forwarded-For"] = ", ".join(filter(None, [headers.get("X-Forwarded-For"), request.remote]))
        headers["X-Forwarded-Proto"], headers["X-Forwarded-Port"] = "https", str(HTTPS)
        body = request.content if request.body_exists else None
        try:
            async with self._http.request(
                request.method, url, headers=headers, data=body, allow_redirects=False, timeout=FORWARD_TIMEOUT
            ) as answer:
                made = web.StreamResponse(
                    status=answer.status, reason=answer.reason, headers=CIMultiDict(_passed_on(answer.headers.items()))
                )
                if "Content-Length" in answer.headers:
                    made.headers["Content-Length"] = answer.headers["Content-Length"]
                await made.prepare(request)
                async for chunk in answer.content.iter_any():
                    await made.write(chunk)
                await made.write_eof()
                return made
        except aiohttp.ClientConnectorError as error:
            raise web.HTTPBadGateway from error


def _applies(rule: Any, path: str) -> bool:
    patterns = [value for condition in rule["Conditions"] for value in condition["Values"]]
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def _passed_on(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in HOP_BY_HOP]


@asynccontextmanager
async def load_balancer(account: Account, certificate: Certificate) -> AsyncIterator[tuple[LoadBalancer, int]]:
    """Run the account's only load balancer on a free port; yield it and the port."""
    elb = await account.client("elbv2")
    [found] = (await elb.describe_load_balancers())["LoadBalancers"]
    [listener] = (await elb.describe_listeners(LoadBalancerArn=found["LoadBalancerArn"]))["Listeners"]
    rules = (await elb.describe_rules(ListenerArn=listener["ListenerArn"]))["Rules"]
    group = listener["DefaultActions"][0]["TargetGroupArn"]
    [targets] = (await elb.describe_target_groups(TargetGroupArns=[group]))["TargetGroups"]
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.certificate, certificate.key)
    async with aiohttp.ClientSession(auto_decompress=False) as http:
        balancer = LoadBalancer(http, rules, targets["HealthCheckPath"])
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{path:.*}", balancer.handle)
        runner = web.AppRunner(application, access_log=None, handler_cancellation=True)
        await runner.setup()
        watching = asyncio.create_task(balancer.watch(), name="health checks")
        try:
            await web.TCPSite(runner, HOST, 0, ssl_context=context).start()
            yield balancer, int(runner.addresses[0][1])
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await runner.cleanup()
