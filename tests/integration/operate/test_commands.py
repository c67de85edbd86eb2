"""The operator's commands with wrong input and in outages: clear messages, documented statuses, nothing lost."""

import asyncio
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import click
import pytest

from consumer.cli.__main__ import cli
from consumer.cli.command import PROGRAM, parse
from deploy.local import postgres as postgres_part
from deploy.local.postgres import Postgres
from media.asset_store.database import connect
from tests.integration.operate.conftest import DEADLINE, ROOT, CompletedCommand, OperatorConsole
from tests.integration.operate.failed_assets import failed_asset

DLQ, REPLAY = ("consumer.cli", "dlq"), ("consumer.cli", "replay")
NOWHERE = "127.0.0.1:9"


async def finished(process: asyncio.subprocess.Process) -> CompletedCommand:
    async with asyncio.timeout(DEADLINE):
        out, err = await process.communicate()
    return CompletedCommand(process.returncode or 0, (out or b"").decode(), err.decode())


async def dead_letters(console: OperatorConsole, queue: str = "images") -> list[str]:
    return await console.bodies(console.queues.dead_letters(queue).url)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Usage: python -m consumer.cli dlq"),
        (["look", "images"], "No such command 'look'"),
        (["list"], "Missing argument 'QUEUE'"),
        (["list", ""], "'' is none of uploads, images"),
        (["list", "thumbnails"], "'thumbnails' is none of uploads, images"),
        (["list", "images", "uploads"], "unexpected extra argument (uploads)"),
        (["redrive", "images", "--rate", "0"], "'0' is no number of messages a second from 0.1 to 500"),
        (["redrive", "images", "--rate", "-5"], "'-5' is no number of messages a second"),
        (["redrive", "images", "--rate", "nan"], "'nan' is no number of messages a second"),
        (["redrive", "images", "--rate", "inf"], "'inf' is no number of messages a second"),
        (["redrive", "images", "--rate", "fast"], "'fast' is no number of messages a second"),
        (["redrive", "images", "--rate", "501"], "'501' is no number of messages a second"),
        (["purge", "images", "--rate", "5"], "No such option '--rate'"),
        (["list", "images", "--dry-run"], "No such option '--dry-run'"),
        (["purge", "images", "--older-than", "soon"], "'soon' is not like 90s, 30m, 2h or 3d"),
        (["purge", "images", "--older-than", "3"], "'3' is not like 90s"),
        (["purge", "images", "--older-than", "-3d"], "'-3d' is not like 90s"),
        (["purge", "images", "--older-than=-3d"], "'-3d' is not like 90s"),
        (["purge", "images", "--older-than", ""], "'' is not like 90s"),
        (["purge", "images", "--reason", ""], "an empty one would mean all dead letters"),
        (["purge", "images", "--reason", " \t"], "an empty one would mean all dead letters"),
        (["purge", "images", "--reason"], "Option '--reason' requires an argument"),
    ],
)
def test_wrong_usage_of_dlq(arguments: Sequence[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(cli, ["dlq", *arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing argument 'ASSET_ID...'"),
        (["everything"], "'everything' is not a valid UUID"),
        ([str(uuid4()), "--stage", "thumbnail"], "'thumbnail' is not one of 'scan', 'image', 'transcode'"),
        ([str(uuid4()), "--stage", ""], "'' is not one of 'scan'"),
    ],
)
def test_wrong_usage_of_replay(arguments: Sequence[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(cli, ["replay", *arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def commands(command: click.Command, *names: str) -> dict[str, click.Command]:
    """Return every command by its words, groups included."""
    inner = command.commands if isinstance(command, click.Group) else {}
    found = [commands(inner[name], *names, name) for name in inner]
    return {" ".join([PROGRAM, *names]): command} | {words: one for many in found for words, one in many.items()}


COMMANDS = commands(cli)


@pytest.mark.parametrize("words", COMMANDS)
def test_examples_in_help_are_valid(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(cli, [*words.removeprefix(PROGRAM).split(), "--help"])
    assert ended.value.code == 0
    page = capsys.readouterr().out
    assert page.startswith(f"Usage: {words} ")
    assert isinstance(COMMANDS[words], click.Group) or "--json" in page
    written = re.findall(rf"(?m)^ +{re.escape(PROGRAM)} (.*)$", page.partition("Examples:")[2])
    assert written
    for line in written:
        if line.endswith("--help"):
            continue
        assert callable(parse(cli, shlex.split(line))), line


@pytest.mark.parametrize("old", ["dlq", "replay"])
async def test_old_names_work_and_name_the_new_one(console: OperatorConsole, old: str) -> None:
    arguments = ["list", "images"] if old == "dlq" else [str(uuid4())]
    ended = await finished(await console.start(f"consumer.{old}", *arguments))
    first, *rest = ended.err.splitlines()
    assert first == f"python -m consumer.{old} is an old name, kept for one release: use {PROGRAM} {old}"
    if old == "dlq":
        assert (ended.status, ended.out, rest) == (0, "images-dlq: 0 messages\n", [])
    else:
        assert (ended.status, ended.out, rest) == (1, "", [f"{arguments[0]}: not replayed: there is no such asset"])


WARNS = """
import asyncio, sys, click, structlog
from consumer.cli.command import execute

@click.command()
def warn():
    async def operation(settings):
        structlog.get_logger().warning("dlq.not_deleted")
        asyncio.get_running_loop().call_exception_handler({"message": "a library's own"})
        print("{}")
        return 0
    return operation

sys.exit(execute(warn, []))
"""


async def test_warnings_leave_standard_output_to_results(console: OperatorConsole) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        WARNS,
        cwd=ROOT,
        env={**os.environ, **console.env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    ended = await finished(process)
    assert (ended.status, ended.out) == (0, "{}\n"), ended.err
    assert "dlq.not_deleted" in ended.err
    assert "a library's own" in ended.err


@asynccontextmanager
async def started_writing_to(
    console: OperatorConsole, output: int, *arguments: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a command with `output` as its standard output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *arguments,
        cwd=ROOT,
        env={**os.environ, **console.env},
        stdout=output,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(output)
    yield process


def unread_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize("command", ["list", "show", "redrive", "purge"])
async def test_closed_reader_is_reported(console: OperatorConsole, command: str) -> None:
    for n in range(3):
        await console.add_dead_letter("images", json.dumps({"n": n}))
    async with started_writing_to(console, unread_pipe(), *DLQ, command, "images", "--reason", "it broke") as process:
        ended = await finished(process)
    assert (ended.status, ended.err) == (
        1,
        "nobody reads on: [Errno 32] Broken pipe. What was done stays done\n",
    )
    left = await dead_letters(console) + await console.bodies(console.queues["images"].url)
    assert len(left) == (0 if command == "purge" else 3)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
async def test_commands_work_with_closed_streams(console: OperatorConsole, closed: str) -> None:
    await console.add_dead_letter("images", "{}")
    shell = f'exec "{sys.executable}" -m {" ".join(DLQ)} redrive images --reason "it broke" {closed}'
    env = {**os.environ, **console.env}
    process = await asyncio.create_subprocess_shell(shell, cwd=ROOT, env=env, stderr=asyncio.subprocess.PIPE)
    ended = await finished(process)
    assert (ended.status, ended.err) == (0, "")
    assert await console.bodies(console.queues["images"].url) == ["{}"]


async def test_ascii_terminal_gets_escaped_characters(console: OperatorConsole) -> None:
    await console.add_dead_letter("images", '"ファイル"', reason="ファイル broke")
    ended = await finished(await console.start(*DLQ, "show", "images", PYTHONIOENCODING="ascii"))
    assert ended.status == 0, ended.err
    assert r"\u30d5\u30a1\u30a4\u30eb broke" in ended.out


async def test_full_disk_is_reported(console: OperatorConsole) -> None:
    await console.add_dead_letter("images", "{}")
    async with started_writing_to(console, os.open("/dev/full", os.O_WRONLY), *DLQ, "list", "images") as process:
        ended = await finished(process)
    assert (ended.status, ended.err.count("\n")) == (1, 1)
    assert "No space left on device" in ended.err


@pytest.mark.parametrize("command", ["list", "show", "redrive", "purge"])
async def test_sqs_outage_is_reported(console: OperatorConsole, command: str) -> None:
    ended = await finished(await console.start(*DLQ, command, "images", AWS_ENDPOINT_URL=f"http://{NOWHERE}"))
    assert ended.status == 1
    assert ended.err.splitlines()[-1].startswith("sqs is unavailable: ")
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("setting", [{"AWS_PROFILE": "nobody"}, {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}])
async def test_missing_credentials_are_reported(
    console: OperatorConsole, setting: dict[str, str], tmp_path: Path
) -> None:
    without = {"AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    ended = await finished(await console.start(*DLQ, "list", "images", **without, **setting))
    assert ended.status == 1
    assert "Traceback" not in ended.err
    assert "sqs is unavailable: " in ended.err


@pytest.mark.parametrize("arguments", [(*DLQ, "show", "images"), (*REPLAY, str(uuid4()))], ids=["dlq", "replay"])
async def test_database_outage_is_reported(console: OperatorConsole, arguments: Sequence[str]) -> None:
    await console.add_dead_letter("images", "{}")
    away = f"postgresql://nobody@{NOWHERE}/none"
    ended = await finished(await console.start(*arguments, MEDIA_DATABASE_URL=away))
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith("the database cannot be reached: ")
    assert len(ended.err.splitlines()) == 1
    assert await dead_letters(console) == ["{}"]


@pytest.mark.parametrize("arguments", [(*DLQ, "show", "images"), (*REPLAY, str(uuid4()))], ids=["dlq", "replay"])
async def test_missing_schema_is_reported(
    console: OperatorConsole, postgres_server: Postgres, arguments: Sequence[str]
) -> None:
    name = f"empty_{uuid4().hex}"
    await postgres_part.create_database(postgres_server, name)
    ended = await finished(await console.start(*arguments, MEDIA_DATABASE_URL=postgres_server.dsn(name)))
    await postgres_part.drop_database(postgres_server, name)
    assert (ended.status, ended.out) == (1, "")
    assert "run `python -m media.schema apply`" in ended.err
    assert "Traceback" not in ended.err


async def test_replay_during_an_sqs_outage_waits_in_the_outbox(console: OperatorConsole) -> None:
    async with connect(console.dsn) as database:
        asset_id = await failed_asset(database)
        process = await console.start(*REPLAY, str(asset_id), str(asset_id), AWS_ENDPOINT_URL=f"http://{NOWHERE}")
        ended = await finished(process)
        assert ended.status == 0, ended.err
        assert ended.out.startswith(f"{asset_id}: image queued; a consumer sends its message later: sqs is unavailable")
        assert len(ended.out.splitlines()) == 1
        assert await database.fetchval("SELECT count(*) FROM outbox WHERE asset_id = $1", asset_id) == 1


async def wait_for_lock(connection: "asyncpg.Connection[asyncpg.Record]", application: str) -> None:
    """Wait until a statement of that application waits for a lock."""
    asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'"
    async with asyncio.timeout(DEADLINE):
        while not await connection.fetchval(asked, application):
            pass  # each look is a request: the loop waits by itself


async def interrupt_blocked_replay(console: OperatorConsole, first: UUID, second: UUID) -> CompletedCommand:
    """Replay two assets, the first of which is locked, and interrupt the command meanwhile."""
    holder, observer = await asyncpg.connect(console.dsn), await asyncpg.connect(console.dsn)
    try:
        async with holder.transaction():
            await holder.execute("SELECT 1 FROM assets WHERE asset_id = $1 FOR UPDATE", first)
            process = await console.start(*REPLAY, str(first), str(second))
            await wait_for_lock(observer, "media-replay")
            process.send_signal(signal.SIGINT)
        return await finished(process)
    finally:
        await holder.close()
        await observer.close()


async def test_interrupted_replay_finishes_the_current_asset(console: OperatorConsole) -> None:
    async with connect(console.dsn) as database:
        first, second = await failed_asset(database), await failed_asset(database)
        ended = await interrupt_blocked_replay(console, first, second)
        assert (ended.status, ended.out) == (130, f"{first}: image queued\n")
        assert ended.err == f"interrupted: {second} and what follows stay as they are\n"
        assert await database.fetchval("SELECT status FROM assets WHERE asset_id = $1", second) == "failed"


async def test_redrive_interrupted_twice_ends_at_once_and_loses_nothing(console: OperatorConsole) -> None:
    for n in range(60):
        await console.add_dead_letter("images", json.dumps({"n": n}))
    process = await console.start(*DLQ, "redrive", "images", "--rate", "10")
    async with asyncio.timeout(DEADLINE):
        while (await console.queues["images"].depth()).visible < 5:
            pass  # each look is a request: the loop waits by itself
    for _ in range(2):
        process.send_signal(signal.SIGINT)
    ended = await finished(process)
    assert ended.status == 130
    assert "interrupted" in ended.err
    assert "Traceback" not in ended.err
    moved = await console.bodies(console.queues["images"].url)
    left = await console.queues.dead_letters("images").depth()
    assert len(set(moved)) + left.visible + left.in_flight >= 60
