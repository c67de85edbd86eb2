"""A rehearsed deployment: the README's commands in an emulated account, and the tasks that come of them."""

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import gettempdir
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from deploy.local import child, emulator, postgres, services
from deploy.local.ports import HOST, free_port
from deploy.local.rehearsal.account import DATABASE, Account, prepare
from deploy.local.rehearsal.certificates import Authority
from deploy.local.rehearsal.commands import README, Clone, blocks
from deploy.local.rehearsal.definitions import Service, TaskDefinition
from deploy.local.rehearsal.image import lay_out
from deploy.local.rehearsal.load_balancer import LoadBalancer, load_balancer
from deploy.local.rehearsal.neighbors import AUDIENCE, Identity, private_mirror, role_credentials
from deploy.local.rehearsal.tasks import Runner, Task
from handlers.process_tempdir import process_tempdir
from handlers.scan.clamd.instream import Address, ask
from media.errors import UnavailableError
from media.schema import apply as schema
from media.schema import roles

API, CONSUMER = "api", "consumer"
LOGS = "logs"
IMAGES = {
    "ServiceImage": "registry.example/media@sha256:" + "1" * 64,
    "ScannerImage": "registry.example/media-scanner@sha256:" + "2" * 64,
}
"""Names of images that nobody pulls."""


@dataclass(slots=True)
class Deployment:
    """A deployment whose services run. `tasks` are those of each service, oldest first."""

    account: Account
    authority: Path
    identity: Identity
    clone: Clone
    parameters: dict[str, str]
    """All values of the file of parameters."""
    runner: Runner
    balancer: LoadBalancer
    port: int
    """The load balancer's port on loopback."""
    tasks: dict[str, list[Task]] = field(default_factory=dict)
    scanner: child.Child | None = None

    @property
    def public_url(self) -> str:
        """The API's address as browsers know it; `http` and `host_rules` lead to the load balancer."""
        return self.parameters["PublicUrl"]

    @property
    def host(self) -> str:
        return urlsplit(self.public_url).hostname or ""

    def http(self) -> aiohttp.ClientSession:
        """Return a client that finds the public host at the load balancer, and trusts the rehearsal's authority."""
        context = ssl.create_default_context(cafile=str(self.authority))
        resolver = _Resolver({self.host: self.port})
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=resolver, ssl=context))

    async def update(self, **parameters: str) -> str:
        """Change values in the file of parameters and type the README's commands again. Raises PartError."""
        self.parameters = self.clone.fill(parameters)
        return await self.clone.run(blocks(README.read_text())[1])

    async def services(self) -> Mapping[str, tuple[Service, TaskDefinition]]:
        """Return each service of ECS with its task definition."""
        ecs = await self.account.client("ecs")
        answer = await ecs.describe_services(
            cluster=f"{self.parameters['Environment']}-media", services=[API, CONSUMER]
        )
        found = [Service.model_validate(one) for one in answer["services"]]
        return {one.service_name: (one, await self.definition(one.task_definition)) for one in found}

    async def definition(self, name: str) -> TaskDefinition:
        ecs = await self.account.client("ecs")
        return TaskDefinition.model_validate(
            (await ecs.describe_task_definition(taskDefinition=name))["taskDefinition"]
        )

    async def start_scanner(self) -> None:
        """Mirror signatures as the schedule does, and start the scanner of a consumer's task. Raises PartError."""
        mirror = await self.definition(f"{self.parameters['Environment']}-media-signatures")
        for container in mirror.container_definitions:
            await self.runner.run_to_end(mirror, container)
        definition = (await self.services())[CONSUMER][1]
        [clamd] = [one for one in definition.container_definitions if one.image == IMAGES["ScannerImage"]]
        self.scanner = await self.runner.start_alone(definition, clamd, free_port())
        await self.scanner.until_ready(lambda: _answers(self.runner.scanner))

    async def start_services(self) -> None:
        """Start as many tasks of each service as it wants. Raises PartError."""
        async with child.first_error(), asyncio.TaskGroup() as group:
            for name, (service, definition) in (await self.services()).items():
                for _ in range(service.desired_count):
                    group.create_task(self._start(name, definition))

    async def _start(self, name: str, definition: TaskDefinition) -> None:
        task = await self.runner.start(definition, IMAGES["ServiceImage"])
        self.tasks.setdefault(name, []).append(task)
        if name == API:
            self.balancer.add(task.port)
            await self.balancer.until_healthy(task.port)

    async def stop(self, task: Task) -> int:
        """Deregister and stop a task; return its exit status. Raises PartError when its stop timeout passed."""
        self.balancer.remove(task.port)
        return await task.stop()

    async def kill(self) -> None:
        """Kill all tasks and the scanner at once."""
        running = [task.child for tasks in self.tasks.values() for task in tasks]
        for each in [*running, *([self.scanner] if self.scanner else [])]:
            each.kill()
            await each.wait()


class _Resolver(AbstractResolver):
    """Resolves the names of `ports` to loopback, at the given port."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        self._ports = ports

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:  # noqa: ARG002 - aiohttp's interface
        """Return the address. Raises OSError for another name."""
        if host not in self._ports:
            raise OSError(f"{host} is not a name of the rehearsal")
        return [ResolveResult(hostname=host, host=HOST, port=self._ports[host], family=family, proto=0, flags=0)]

    async def close(self) -> None:
        """Close nothing."""


@contextmanager
def start_over(folder: Path) -> Iterator[Path]:
    """Yield an empty folder for one rehearsal; remove all but its logs after the block."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield folder
    for path in folder.iterdir():
        if path.name != LOGS:
            shutil.rmtree(path, ignore_errors=True)


@asynccontextmanager
async def deployed(folder: Path, environ: Mapping[str, str], **chosen: str) -> AsyncIterator[Deployment]:
    """Run the README's commands in a new account below `folder`, and the tasks; end all at the end of the block.

    `chosen` are values for the file of parameters. Raises PartError when a command fails, or a task does not become
    healthy.
    """
    logs = folder / LOGS
    logs.mkdir(parents=True)
    authority = Authority(folder / "authority")
    async with AsyncExitStack() as exits:
        identity = Identity()
        jwks = await exits.enter_async_context(identity.serve(authority.issue("identity", HOST)))
        signatures = await exits.enter_async_context(private_mirror())
        aws, databases = await _parts(folder, authority, exits)
        account = Account(aws.url, authority.certificate, exits)
        client = {**aws.client_env(), "AWS_CA_BUNDLE": str(authority.certificate)}
        clone = Clone(folder / "clone", client)
        copying, deploying = blocks(README.read_text())
        await clone.run(copying)
        own = {"JwksUrl": jwks, "JwtIssuer": identity.issuer, "JwtAudience": AUDIENCE}
        own |= {"SignaturesMirror": "none", "SignaturesCustom": signatures}
        parameters = clone.fill({**await prepare(account, **databases), **IMAGES, **own, **chosen})
        await clone.run(deploying)
        changed = {
            "AWS_ENDPOINT_URL": aws.url,
            "AWS_CA_BUNDLE": str(authority.certificate),
            "SSL_CERT_FILE": str(authority.certificate),
            "MEDIACONVERT_ENDPOINT": await _mediaconvert(folder, client, exits, environ),
        }
        credentials = await exits.enter_async_context(role_credentials(account, await _roles(account)))
        certificate = authority.issue("api", urlsplit(parameters["PublicUrl"]).hostname or "")
        balancer, port = await exits.enter_async_context(load_balancer(account, certificate))
        images = {IMAGES[f"{one.title()}Image"]: lay_out(one, folder / one, environ) for one in ("service", "scanner")}
        # Paths of sockets are short, and those of states may be long.
        volumes = exits.enter_context(process_tempdir("media-volumes-", Path(gettempdir())))
        runner = Runner(account, images, logs, volumes, credentials, changed)
        up = Deployment(account, authority.certificate, identity, clone, parameters, runner, balancer, port)
        exits.push_async_callback(up.kill)
        await up.start_scanner()
        await up.start_services()
        yield up


async def _answers(scanner: Address) -> bool:
    """Say whether clamd answers there, and not what waits for signatures in its place."""
    try:
        return await ask(scanner, "PING") == b"PONG"
    except UnavailableError:
        return False


async def _parts(folder: Path, authority: Authority, exits: AsyncExitStack) -> tuple[emulator.Emulator, dict[str, str]]:
    """Start emulator and database; return the emulator, and the database's URL by service."""
    logs = folder / LOGS
    certificate = authority.issue("aws", HOST)

    async def start_aws() -> emulator.Emulator:
        started = await emulator.start(
            folder / "emulator",
            free_port(),
            logs,
            module="deploy.local.rehearsal.emulator_process",
            certificate=(certificate.certificate, certificate.key),
        )
        exits.push_async_callback(started.child.stop)
        return started

    async def start_postgres() -> dict[str, str]:
        server = await postgres.start(folder / "postgres", free_port(), logs, "rehearsal")
        exits.push_async_callback(server.child.stop)
        await postgres.create_roles(server)
        await postgres.create_database(server, DATABASE)
        await schema.apply(server.dsn(DATABASE))  # as the owner; the tasks' own roles may not
        return {"consumer": server.dsn(DATABASE, roles.CONSUMER), "api": server.dsn(DATABASE, roles.API)}

    async with child.first_error(), asyncio.TaskGroup() as group:
        started = group.create_task(start_aws()), group.create_task(start_postgres())
    return started[0].result(), started[1].result()


async def _mediaconvert(
    folder: Path, client: Mapping[str, str], exits: AsyncExitStack, environ: Mapping[str, str]
) -> str:
    """Start the stand-in for MediaConvert; return its address."""
    port = free_port()
    program = services.mediaconvert_on(folder, port, client, environ)
    started = await child.start(program, folder / LOGS)
    exits.push_async_callback(started.stop)
    await started.until_ready(lambda: child.accepts_connections(HOST, port))
    return f"http://{HOST}:{port}"


async def _roles(account: Account) -> dict[str, str]:
    """Return the task role of each family of task definitions."""
    ecs = await account.client("ecs")
    families = (await ecs.list_task_definition_families())["families"]
    found = [(await ecs.describe_task_definition(taskDefinition=one))["taskDefinition"] for one in families]
    return {one["family"]: one["taskRoleArn"] for one in found}
